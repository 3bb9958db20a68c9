//! natoma, a virtual machine monitor for Linux/KVM: everything that touches the kernel, the host or the user.
//!
//! Dependencies run one way: `main -> cli -> config`, `main -> machine -> {boot, kvm, host, monitor} -> devices`. `qtest` is
//! beside `main`: it makes a machine for tests.

mod blockdev;
pub mod boot;
pub mod cli;
pub mod command_line;
pub mod config;
pub mod host;
pub mod kvm;
pub mod logging;
pub mod machine;
pub mod monitor;
pub mod qtest;
mod scalar;
mod suggest;
pub mod tell;
