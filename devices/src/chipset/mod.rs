//! The chipset: i440FX host bridge and the functions of the PIIX3/PIIX4.

pub mod i440fx;
pub mod piix3;
pub mod pirq;
pub mod port92;
