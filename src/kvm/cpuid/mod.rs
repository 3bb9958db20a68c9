//! What the guest sees in CPUID.
