//! What SeaBIOS boots from first, and what after that.
//!
//! SeaBIOS tries one disk only: the first in the order. (The boot order of several kinds of disks and CDs is where an old
//! qemu-kvm took the wrong one.)

use crate::media::{Media, Then};
use crate::{FIRMWARE, NOTHING_BOOTS, quit, start};

/// A machine with two disks, a CD and a floppy that tell their names.
struct Mix {
    media: Media,
    options: Vec<String>,
}

impl Mix {
    fn new() -> Self {
        let media = Media::new();
        let options = vec!["-debugcon".into(), media.debug_port()];
        Self { media, options }
    }

    /// Adds a device with a medium: `bootindex=1` say, or nothing.
    fn add(&mut self, device: &str, image: &str, properties: &str) {
        let id = format!("drive{}", self.options.len());
        let drive = format!("if=none,id={id},format=raw,file={image}");
        let properties = if properties.is_empty() { String::new() } else { format!(",{properties}") };
        self.options.extend(["-drive".into(), drive, "-device".into(), format!("{device},drive={id}{properties}")]);
    }

    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.options.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }
}

/// An old qemu-kvm booted the first IDE disk of such a mix, whatever the order said.
#[test]
fn a_mix_of_all_that_boots_is_tried_in_the_order_given() {
    for (indexes, order) in
        [([5, 1, 2, 4, 3], "<virtio><CD><ROM><floppy>"), ([2, 5, 4, 1, 3], "<floppy><IDE><ROM><CD>")]
    {
        let mut mix = Mix::new();
        let then = Then::Next;
        let [ide_index, virtio_index, cd_index, floppy_index, rom_index] = indexes;
        let [ide, virtio] = ["IDE", "virtio"].map(|name| mix.media.disk(name, then));
        let (cd, floppy) = (mix.media.cd("CD", then), mix.media.floppy("floppy", then));
        let rom = format!("{},bootindex={rom_index}", mix.media.rom("ROM"));
        mix.add("ide-hd", &ide, &format!("bus=ide.0,unit=0,bootindex={ide_index}"));
        mix.add("virtio-blk-pci", &virtio, &format!("bootindex={virtio_index}"));
        mix.add("ide-cd", &cd, &format!("bus=ide.1,unit=0,bootindex={cd_index}"));
        mix.add("floppy", &floppy, "");
        let floppy = format!("isa-fdc.bootindexA={floppy_index}");
        let Some(mut natoma) = start(&mix.options(&["-global", &floppy, "-option-rom", &rom])) else { return };
        natoma.expect(NOTHING_BOOTS, FIRMWARE);
        quit(natoma);
        assert_eq!(mix.media.told(), order);
    }
}

#[test]
fn only_what_has_a_bootindex_boots_where_the_order_is_strict() {
    let mut mix = Mix::new();
    let then = Then::Next;
    let [first, second] = ["disk 1", "disk 2"].map(|name| mix.media.disk(name, then));
    let (cd, floppy) = (mix.media.cd("CD", then), mix.media.floppy("floppy", then));
    mix.add("ide-hd", &first, "bus=ide.0,unit=0");
    mix.add("ide-hd", &second, "bus=ide.0,unit=1,bootindex=12");
    mix.add("ide-cd", &cd, "bus=ide.1,unit=0,bootindex=3");
    mix.add("floppy", &floppy, "");
    let Some(mut natoma) = start(&mix.options(&["-boot", "strict=on"])) else { return };
    natoma.expect(NOTHING_BOOTS, FIRMWARE);
    quit(natoma);
    assert_eq!(mix.media.told(), "<CD><disk 2>");
}

#[test]
fn the_menu_lists_the_devices_in_order_and_boots_the_chosen_one() {
    let mut mix = Mix::new();
    let then = Then::Next;
    let [first, second] = ["disk 1", "disk 2"].map(|name| mix.media.disk(name, then));
    let (cd, floppy) = (mix.media.cd("CD", then), mix.media.floppy("floppy", then));
    mix.add("ide-hd", &first, "bus=ide.0,unit=0,bootindex=7");
    mix.add("ide-cd", &cd, "bus=ide.0,unit=1,bootindex=5");
    mix.add("ide-hd", &second, "bus=ide.1,unit=1,model=SECOND");
    mix.add("floppy", &floppy, "");
    let options = ["-global", "isa-fdc.bootindexA=3", "-boot", "menu=on,splash-time=60000"];
    let Some(mut natoma) = start(&mix.options(&options)) else { return };
    natoma.expect("Press ESC for boot menu.", FIRMWARE);
    natoma.send("\x1b");
    natoma.expect("Select boot device:", FIRMWARE);
    for line in ["1. Floppy", "2. DVD/CD [ata0-1: QEMU DVD-ROM", "3. ata0-0: QEMU HARDDISK", "4. ata1-1: SECOND"] {
        natoma.expect(line, FIRMWARE);
    }
    natoma.send("4");
    natoma.expect(NOTHING_BOOTS, FIRMWARE);
    quit(natoma);
    assert_eq!(mix.media.told(), "<disk 2><floppy><CD>");
}

/// A disk and a CD drive at a SCSI host among the others.
#[test]
fn the_menu_lists_scsi_devices_where_their_bootindex_puts_them() {
    let mut mix = Mix::new();
    let then = Then::Next;
    let [ide, virtio, scsi] = ["IDE", "virtio", "SCSI"].map(|name| mix.media.disk(name, then));
    let [ide_cd, scsi_cd] = ["IDE CD", "SCSI CD"].map(|name| mix.media.cd(name, then));
    mix.add("ide-hd", &ide, "bus=ide.0,unit=0,bootindex=1");
    mix.options.extend(["-device", "virtio-scsi-pci,addr=5"].map(String::from));
    mix.add("scsi-cd", &scsi_cd, "bootindex=2");
    mix.add("virtio-blk-pci", &virtio, "addr=4,bootindex=3");
    mix.add("ide-cd", &ide_cd, "bus=ide.1,unit=0,bootindex=4");
    mix.add("scsi-hd", &scsi, "bootindex=5");
    let Some(mut natoma) = start(&mix.options(&["-boot", "menu=on,splash-time=60000"])) else { return };
    natoma.expect("Press ESC for boot menu.", FIRMWARE);
    natoma.send("\x1b");
    natoma.expect("Select boot device:", FIRMWARE);
    for line in [
        "1. ata0-0: QEMU HARDDISK",
        "2. DVD/CD [virtio-scsi",
        "3. Virtio disk PCI:00:04.0",
        "4. DVD/CD [ata1-0",
        "5. virtio-scsi",
    ] {
        natoma.expect(line, FIRMWARE);
    }
    natoma.send("5");
    natoma.expect(NOTHING_BOOTS, FIRMWARE);
    quit(natoma);
    assert_eq!(mix.media.told(), "<SCSI><SCSI CD><IDE CD>");
}

#[test]
fn an_order_for_once_ends_with_a_reset() {
    let media = Media::new();
    let (disk, cd) = (media.disk("disk", Then::Exit(4)), media.cd("CD", Then::Reset));
    let floppy = media.floppy("floppy", Then::Next);
    let drives = [("ide", &disk, ""), ("ide", &cd, ",media=cdrom"), ("floppy", &floppy, "")];
    let drives = drives.map(|(kind, image, more)| format!("if={kind},format=raw,file={image}{more}"));
    let [disk, cd, floppy] = drives.each_ref().map(String::as_str);
    let port = media.debug_port();
    let options = ["-drive", disk, "-drive", cd, "-drive", floppy, "-boot", "order=ac,once=d", "-debugcon", &port];
    let Some(mut natoma) = start(&[&options[..], &["-device", "isa-debug-exit"]].concat()) else { return };
    assert_eq!(natoma.wait(FIRMWARE).code(), Some(4 << 1 | 1));
    assert_eq!(media.told(), "<CD><floppy><disk>");
}

/// The other tests have what a drive does if it is told nothing.
#[test]
fn a_disk_that_worker_threads_serve_boots() {
    let media = Media::new();
    let drive = format!("if=ide,format=raw,aio=threads,cache=writethrough,file={}", media.disk("disk", Then::Exit(5)));
    let port = media.debug_port();
    let options = ["-drive", &drive, "-debugcon", &port, "-device", "isa-debug-exit"];
    let Some(mut natoma) = start(&options) else { return };
    assert_eq!(natoma.wait(FIRMWARE).code(), Some(5 << 1 | 1));
    assert_eq!(media.told(), "<disk>");
}
