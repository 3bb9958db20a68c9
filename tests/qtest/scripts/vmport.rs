//! VMware's port, which is nothing without a processor: its calls are in registers.

use crate::Script;
use crate::pc::Pc;

pub const SCRIPT: Script = Script { options: &[], run: walk, differences: &[] };

const PORT: u16 = 0x5658;
const MAGIC: u32 = 0x564d_5868;

fn walk(pc: &mut dyn Pc) {
    pc.section("no registers, no calls");
    assert_eq!(pc.inl(PORT), u32::MAX);
    pc.outl(PORT, MAGIC);
    assert_eq!(pc.inl(PORT), u32::MAX);
    assert_eq!(pc.inb(PORT), 0xff);
}
