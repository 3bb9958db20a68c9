//! What the guest sees in CPUID.

pub mod topology;
