//! CPU model, number and topology of the CPUs.

use serde::{Deserialize, Serialize};

/// CPU model and the properties that change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuConfig {
    /// Name of the model as QEMU spells it: `qemu64`, `host`, `max` ...
    pub model: String,
    /// Properties to set on the model, in the order in which they take effect: the last setting of a name wins. QEMU's
    /// precedence is already applied: every `name=value` first, then every `+name` (as `on`), then every `-name` (as
    /// `off`).
    pub properties: Vec<CpuProperty>,
}

/// One property of the CPU model: a feature flag (`avx`), or another property (`vendor`, `hypervisor`, `kvm` ...).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuProperty {
    /// Name as given, with `_` replaced by `-`.
    pub name: String,
    /// Value as given; `on` or `off` for flags.
    pub value: String,
}

impl Default for CpuConfig {
    fn default() -> Self {
        Self { model: "qemu64".into(), properties: Vec::new() }
    }
}

/// Number and topology of the CPUs. `sockets * dies * cores * threads == max_cpus` always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smp {
    /// CPUs present when the machine starts: 1 to `max_cpus`.
    pub cpus: u32,
    /// CPUs the machine can ever have: 1 to [`Smp::LIMIT`].
    pub max_cpus: u32,
    /// Sockets on the board, at least 1.
    pub sockets: u32,
    /// Dies in a socket, at least 1.
    pub dies: u32,
    /// Cores in a die, at least 1.
    pub cores: u32,
    /// Threads in a core, at least 1.
    pub threads: u32,
}

impl Smp {
    /// No KVM host runs more virtual CPUs than this in one machine (the largest `CONFIG_KVM_MAX_NR_VCPUS` of Linux on
    /// x86). The host's own limit is usually lower, and known only when the machine is built.
    pub const LIMIT: u32 = 4096;
}

impl Default for Smp {
    fn default() -> Self {
        Self { cpus: 1, max_cpus: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }
    }
}
