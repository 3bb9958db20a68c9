//! The little of AML that the `acpi_tables` crate lacks, and short forms of what the DSDT is full of.

use acpi_tables::aml::{
    Acquire, Device, EISAName, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, IO, If, Method,
    MethodCall, Name, OpRegion, OpRegionSpace, Path, Release, ResourceTemplate, Return, Scope, Store,
};
use acpi_tables::{Aml, AmlSink};

/// AML in its final form.
#[derive(Clone)]
pub(super) struct Raw(Vec<u8>);

impl Raw {
    /// The bytes of `term`.
    pub(super) fn of(term: &dyn Aml) -> Self {
        let mut bytes = Vec::new();
        term.to_aml_bytes(&mut bytes);
        Self(bytes)
    }
}

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// `Name (path, value)`.
pub(super) fn name(path: &str, value: &dyn Aml) -> Raw {
    Raw::of(&Name::new(path.into(), value))
}

/// `Name (_HID, EisaId (id))`.
pub(super) fn hid(id: &str) -> Raw {
    name("_HID", &EISAName::new(id))
}

/// `Method (path, args, Serialized) { body }`. ACPICA parses a method that is not serialized when it loads the table, to
/// find out whether it ought to be.
pub(super) fn method(path: &str, args: u8, body: Vec<&dyn Aml>) -> Raw {
    Raw::of(&Method::new(path.into(), args, true, body))
}

/// `Device (path) { children }`.
pub(super) fn device(path: &str, children: &[Raw]) -> Raw {
    Raw::of(&Device::new(path.into(), terms(children)))
}

/// `Scope (path) { children }`.
pub(super) fn scope(path: &str, children: &[Raw]) -> Raw {
    Raw::of(&Scope::new(path.into(), terms(children)))
}

/// `path (args)`: a call of a method, whose value may be used.
pub(super) fn call(path: &str, args: &[&dyn Aml]) -> Raw {
    Raw::of(&MethodCall::new(path.into(), args.to_vec()))
}

/// `target = value`.
pub(super) fn store(target: &dyn Aml, value: &dyn Aml) -> Raw {
    Raw::of(&Store::new(target, value))
}

/// `If (predicate) { then }`.
pub(super) fn when(predicate: &dyn Aml, then: &[Raw]) -> Raw {
    Raw::of(&If::new(predicate, terms(then)))
}

/// `Return (value)`.
pub(super) fn answer(value: &dyn Aml) -> Raw {
    Raw::of(&Return::new(value))
}

/// `Acquire (mutex, 0xFFFF)`, `body`, `Release (mutex)`.
pub(super) fn locked(mutex: &str, body: &[Raw]) -> Raw {
    let (acquire, release) = (Raw::of(&Acquire::new(mutex.into(), 0xffff)), Raw::of(&Release::new(mutex.into())));
    let terms = [&acquire].into_iter().chain(body).chain([&release]);
    Raw(terms.flat_map(|term| term.0.iter().copied()).collect())
}

/// `OperationRegion (path, SystemIO, base, length)`.
pub(super) fn ports(path: &str, base: u16, length: u8) -> Raw {
    Raw::of(&OpRegion::new(path.into(), OpRegionSpace::SystemIO, &base, &length))
}

/// `Field (region, access, NoLock, WriteAsZeros) { fields }`: registers in which zero changes nothing.
pub(super) fn registers(region: &str, access: FieldAccessType, fields: &[FieldEntry]) -> Raw {
    let (lock, update) = (FieldLockRule::NoLock, FieldUpdateRule::WriteAsZeroes);
    Raw::of(&Field::new(region.into(), access, lock, update, fields.to_vec()))
}

/// `Name (_CRS, ResourceTemplate () { resources })`.
pub(super) fn crs(resources: &[&dyn Aml]) -> Raw {
    name("_CRS", &ResourceTemplate::new(resources.to_vec()))
}

/// `IO (Decode16, base, base, 1, length)`.
pub(super) fn io(base: u16, length: u8) -> IO {
    IO::new(base, base, 1, length)
}

/// A name as a term: what it stands for.
pub(super) fn path(name: &str) -> Path {
    Path::new(name)
}

/// Terms one after the other.
pub(super) fn terms(raw: &[Raw]) -> Vec<&dyn Aml> {
    raw.iter().map(|term| term as &dyn Aml).collect()
}

/// The use of a field by its name.
pub(super) struct FieldRef(pub [u8; 4]);

impl Aml for FieldRef {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// `IRQNoFlags () {n}`: an edge triggered, active high ISA interrupt.
pub(super) struct IrqNoFlags(pub u8);

impl Aml for IrqNoFlags {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1 << self.0);
    }
}

/// `DMA (Compatibility, NotBusMaster, Transfer8) {n}`.
pub(super) struct Dma8(pub u8);

impl Aml for Dma8 {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&[0x2a, 1 << self.0, 0]);
    }
}

/// `Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {list}`.
pub(super) struct LevelInterrupts<'a>(pub &'a [u8]);

impl LevelInterrupts<'_> {
    /// Offset of the first interrupt number in a resource template that begins with this descriptor.
    pub(super) const NUMBER: u8 = 5;
}

impl Aml for LevelInterrupts<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x89);
        sink.word(2 + 4 * self.0.len() as u16);
        sink.byte(1 << 0 | 1 << 3); // consumer, shared; level and active high are zeros
        sink.byte(self.0.len() as u8);
        for &irq in self.0 {
            sink.dword(irq.into());
        }
    }
}
