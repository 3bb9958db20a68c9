//! PCI: configuration space, functions and the bus.
