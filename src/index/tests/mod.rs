mod damage;
mod lookup;
mod merge;
mod segment;
