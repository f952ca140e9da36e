//! The page of parity, with the code of its shards computed as the page says.

use backstop::base::id::PackId;
use backstop::format::parity::{PACK_SHARDS, Parity, RECOVERY_SHARDS};
use backstop::pack::parity_of;

use crate::page::Page;
use crate::samples;

/// The field and the matrix of the page.
struct Code {
    basis: Vec<u16>,
    /// By the polynomial of an element, the element.
    elements: Vec<u16>,
    matrix: Vec<u16>,
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    let (pairs, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

impl Code {
    fn of_page() -> Self {
        let page = Page::load("parity.md");
        let (basis, matrix) = (numbers(&page.hex("basis")), numbers(&page.hex("matrix")));
        assert_eq!((basis.len(), matrix.len()), (16, PACK_SHARDS * RECOVERY_SHARDS));
        let mut code = Self { basis, elements: vec![0; 1 << 16], matrix };
        for element in 0..=u16::MAX {
            let polynomial = code.polynomial(element);
            code.elements[polynomial as usize] = element;
        }
        code
    }

    fn polynomial(&self, element: u16) -> u32 {
        let bits = (0..16).filter(|bit| element >> bit & 1 == 1);
        bits.fold(0, |sum, bit| sum ^ u32::from(self.basis[bit]))
    }

    fn product(&self, a: u16, b: u16) -> u16 {
        let (mut a, mut b, mut product) = (self.polynomial(a), self.polynomial(b), 0);
        while b != 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            b >>= 1;
            a <<= 1;
            // x^16 + x^5 + x^3 + x^2 + 1
            if a >> 16 == 1 {
                a ^= 0x1_002d;
            }
        }
        self.elements[product as usize]
    }

    /// The recovery shards of a pack, one after the other.
    fn recovery(&self, pack: &[u8], shard_len: usize) -> Vec<u8> {
        let mut padded = pack.to_vec();
        padded.resize(PACK_SHARDS * shard_len, 0);
        let mut out = vec![0; RECOVERY_SHARDS * shard_len];
        for (row, out) in out.chunks_mut(shard_len).enumerate() {
            for place in (0..shard_len).filter(|place| place % 64 < 32) {
                let sum = (0..PACK_SHARDS).fold(0, |sum, shard| {
                    let at = shard * shard_len + place;
                    let symbol = u16::from_le_bytes([padded[at], padded[at + 32]]);
                    sum ^ self.product(symbol, self.matrix[row * PACK_SHARDS + shard])
                });
                [out[place], out[place + 32]] = sum.to_le_bytes();
            }
        }
        out
    }
}

#[test]
fn the_vector_of_the_page_is_the_parity_of_the_vector_of_the_pack() {
    let bytes = Page::load("parity.md").hex("parity");
    let parity = samples::parity();
    assert_eq!(bytes, parity.encode());
    assert_eq!(Parity::decode(&bytes), Ok(parity));
}

#[test]
fn recovery_shards_are_what_field_and_matrix_of_the_page_make() {
    let code = Code::of_page();
    for len in [samples::data_pack().0.len(), 20_000] {
        let pack: Vec<u8> = (0..len).map(|i| (i * i / 7 + i / 300) as u8).collect();
        let id = PackId::from_bytes([0; 32]);
        let parity = parity_of(samples::repo(), id, &pack).unwrap();
        assert!(parity.recovery == code.recovery(&pack, parity.shard_len()), "{len} bytes");
    }
}
