//! The `natoma` program.
fn main() {}
