//! What devices there are to choose from.

/// A type of device of `-device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceType {
    /// Its name.
    pub name: &'static str,
    /// The properties that can be set.
    pub properties: Vec<DeviceProperty>,
}

/// A property of a type of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProperty {
    /// Its name.
    pub name: &'static str,
    /// What its value is: `bool`, `uint32`, `size` or `str`.
    pub kind: &'static str,
    /// What it does.
    pub description: &'static str,
}
