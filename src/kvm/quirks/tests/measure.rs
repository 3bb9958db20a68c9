use super::*;
use iced_x86::code_asm::*;
use std::time::Instant;
#[test]
fn measure() {
    let kvm = kvm().unwrap();
    let t = Instant::now();
    let quirks = Arc::new(HostQuirks::detect(&kvm).unwrap());
    eprintln!("detect {:?}", t.elapsed());
    let vm = kvm.create_vm().unwrap();
    let t = Instant::now();
    quirks.prepare_vm(&vm).unwrap();
    eprintln!("prepare_vm {:?}", t.elapsed());
    let t = Instant::now();
    quirks.findings();
    eprintln!("probe {:?}", t.elapsed());
    for (name, code) in [
        ("clac", &[0x0f, 0x01, 0xca][..]),
        ("popcnt mem", &[0xf3, 0x48, 0x0f, 0xb8, 0x07]),
        ("fwait", &[0x9b]),
        ("movss st", &[0xf3, 0x0f, 0x11, 0x07]),
        ("addss", &[0xf3, 0x0f, 0x58, 0x07]),
        ("xsavec", &[0x48, 0x0f, 0xc7, 0x27]),
        ("nop", &[0x90]),
        ("out", &[0xe6, 0x80]),
        ("cmpxchg16b", &[0x48, 0x0f, 0xc7, 0x0f]),
    ] {
        for sync in [true, false] {
            let c = assemble(CODE, |a| {
                let mut l = a.create_label();
                a.set_label(&mut l)?;
                a.db(code)?;
                a.dec(ebx)?;
                a.jnz(l)?;
                a.hlt()
            });
            let mut g = Guest::new(&kvm, CODE, &c);
            if !sync {
                g.fixups = VcpuFixups::new(quirks.clone());
                let _ = g.micro.vcpu.get_kvm_run();
                g.micro.vcpu.clear_sync_valid_reg(kvm_ioctls::SyncReg::Register);
                g.micro.vcpu.clear_sync_valid_reg(kvm_ioctls::SyncReg::SystemRegister);
                g.micro.vcpu.clear_sync_valid_reg(kvm_ioctls::SyncReg::VcpuEvents);
            }
            let mut r = g.regs();
            r.rbx = 2000;
            r.rdi = 0x9000;
            r.rax = 7;
            r.rdx = 0;
            g.micro.vcpu.set_regs(&r).unwrap();
            let mut s = g.micro.vcpu.get_sregs().unwrap();
            s.cr4 |= 1 << 18;
            g.micro.vcpu.set_sregs(&s).unwrap();
            let t = Instant::now();
            loop {
                match g.run() {
                    Exit::Halt => break,
                    _ => {}
                }
            }
            eprintln!("{name} sync {sync} {:?}", t.elapsed() / 2000);
        }
    }
}
