//! Randomness as an argument, so that a test run can be repeated from its seed.

/// A source of random bytes.
pub trait Chance: Send + Sync {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
}

impl dyn Chance + '_ {
    /// An array of random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// The operating system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    /// # Panics
    ///
    /// If the operating system has no random numbers to give: nothing safe can be named then.
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives random numbers");
    }
}
