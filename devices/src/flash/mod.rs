//! Flash memory: the chips that hold firmware and its variables.

pub mod cfi01;
