//! Makes the index anew from the packs.
