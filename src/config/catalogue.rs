//! What devices there are to choose from.

/// A type of device of `-device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceType {
    /// Its name.
    pub name: &'static str,
    /// The properties that can be set.
    pub properties: Vec<DeviceProperty>,
}

/// What monitors tell of what there is to choose from; made only when somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue {
    /// The devices of `-device`.
    pub device_types: fn() -> Vec<DeviceType>,
    /// The options that have a name in configuration files.
    pub option_groups: fn() -> Vec<OptionGroup>,
}

/// An option of the command line with parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionGroup {
    /// Its name in configuration files and QMP.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: Vec<DeviceProperty>,
}

/// A model of processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuModel {
    /// Its name.
    pub name: String,
    /// The model that it is another name of.
    pub alias_of: Option<String>,
    /// What it has depends on the host.
    pub of_host: bool,
    /// Features that this host can't give it.
    pub missing: Vec<String>,
}

/// A property of a type of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProperty {
    /// Its name.
    pub name: &'static str,
    /// What its value is: `bool`, `uint32`, `uint64`, `size` or `str`.
    pub kind: &'static str,
    /// What it does.
    pub description: &'static str,
}
