//! Debug console and debug exit, as QEMU documents them.

use crate::Script;
use crate::pc::Pc;

pub const DEBUGCON: Script = Script {
    options: &["-chardev", "null,id=log", "-device", "isa-debugcon,iobase=0x402,chardev=log,readback=0x5a"],
    run: debugcon,
    differences: &[],
};

fn debugcon(pc: &mut dyn Pc) {
    pc.section("presence");
    assert_eq!(pc.inb(0x402), 0x5a, "a read shows that it is there");
    pc.outb(0x402, b'x');
    assert_eq!(pc.inb(0x402), 0x5a, "whatever was written");
    assert_eq!(pc.inb(0x403), 0xff, "it has one port");
    pc.section("wide accesses");
    assert_eq!(pc.inw(0x402), 0xff5a);
    assert_eq!(pc.inl(0x400), 0xffff_ffff, "an access belongs to whom it begins with");
}

pub const DEBUG_EXIT: Script =
    Script { options: &["-device", "isa-debug-exit,iobase=0xf4,iosize=4"], run: debug_exit, differences: &[] };

fn debug_exit(pc: &mut dyn Pc) {
    pc.section("reads");
    assert_eq!(pc.inb(0xf4), 0);
    assert_eq!(pc.inw(0xf4), 0);
    assert_eq!(pc.inl(0xf4), 0);
    assert_eq!(pc.inb(0xf7), 0, "four ports as iosize says");
    assert_eq!(pc.inb(0xf8), 0xff);
}
