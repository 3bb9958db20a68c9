//! iPXE, as Debian has it for one of QEMU's network cards: on this machine it finds none.

use std::time::Duration;

use crate::media::{Media, Then};
use crate::{FIRMWARE, installed, start};

const ROM: &str = "/usr/lib/ipxe/qemu/pxe-e1000.rom";
/// It decompresses itself, and gives people time to press a key.
const IPXE: Duration = Duration::from_secs(120);

#[test]
fn it_looks_for_a_network_and_leaves_the_boot_to_the_next_device() {
    if !installed(ROM, "ipxe-qemu") {
        return;
    }
    let media = Media::new();
    let image = format!("file={},if=floppy,format=raw", media.floppy("floppy", Then::Exit(3)));
    let (rom, port) = (format!("{ROM},bootindex=1"), media.debug_port());
    // Hosts without hardware virtualisation lose interrupts of controllers in the kernel while iPXE runs.
    let options = [
        &["-machine", "pc,kernel-irqchip=split", "-option-rom", &rom][..],
        &["-drive", &image, "-global", "isa-fdc.bootindexA=2", "-debugcon", &port, "-device", "isa-debug-exit"],
    ];
    let Some(mut natoma) = start(&options.concat()) else { return };
    natoma.expect("Press Ctrl-B to configure iPXE", FIRMWARE);
    natoma.expect("iPXE initialising devices...ok", IPXE);
    natoma.expect("No more network devices", IPXE);
    natoma.expect("Booting from Floppy...", FIRMWARE);
    assert_eq!(natoma.wait(FIRMWARE).code(), Some(3 << 1 | 1));
    assert_eq!(media.told(), "<floppy>");
}
