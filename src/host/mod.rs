//! Implementations of the device back ends on the host: character devices and files.
