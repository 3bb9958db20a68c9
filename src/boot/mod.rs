//! From a kernel image, firmware or the built-in guest to the state in which the first vCPU starts.

pub mod e820;
