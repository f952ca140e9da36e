//! Stores for tests: one that loses power, one that counts, one that damages, and the contract that
//! every store is held to.

pub mod contract;
pub mod counting;
pub mod damaging;
mod disk;
pub mod memory;
pub mod seeded;

pub use contract::store_contract;
pub use counting::AreaCounts;
pub use counting::CountingStore;
pub use counting::StoreCounts;
pub use damaging::Damage;
pub use damaging::DamagingStore;
pub use damaging::Fault;
pub use damaging::Gate;
pub use memory::MemoryStore;
pub use memory::Omit;
pub use seeded::SeededChance;
