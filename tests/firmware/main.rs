//! Stock firmware in natoma, as a person sees it: SeaBIOS on the serial port, its menu, and what it starts.
//!
//! Limits are generous: where ring 0 is interpreted, SeaBIOS takes three seconds and GRUB half a minute, and more on a busy
//! host.

mod boot_loaders;
mod boot_order;
mod comparison;
#[path = "../boot/console.rs"]
#[allow(dead_code, reason = "the tests of booting use more of it")]
mod console;
mod grub;
mod ipxe;
mod media;
#[path = "../boot/test_kernel.rs"]
mod test_kernel;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use console::Console;

/// From the start of natoma to anything that SeaBIOS says.
const FIRMWARE: Duration = Duration::from_secs(60);
/// From there to what takes an operating system or a boot loader to say.
const SYSTEM: Duration = Duration::from_secs(300);
/// Ctrl-A x: the end of natoma.
const QUIT: &str = "\x01x";

const BANNER: &str = "SeaBIOS (version ";
const NOTHING_BOOTS: &str = "No bootable device.";

/// Whether a file of a package is here; says so if not.
fn installed(file: &str, package: &str) -> bool {
    let found = Path::new(file).exists();
    if !found {
        eprintln!("SKIPPED: {file} is not installed (Debian: {package})");
    }
    found
}

/// Starts natoma with the firmware's console on the standard streams. `None` if there is no KVM or no SeaBIOS here.
fn start(options: &[&str]) -> Option<Console> {
    start_with(&[&["-nographic"], options].concat())
}

/// Starts natoma. `None` if there is no KVM or no SeaBIOS here.
fn start_with(options: &[&str]) -> Option<Console> {
    if !Path::new("/dev/kvm").exists() {
        eprintln!("SKIPPED: /dev/kvm does not exist on this host, so nothing can run in natoma");
        return None;
    }
    if !installed("/usr/share/seabios/bios-256k.bin", "seabios") {
        return None;
    }
    let program = std::env::var_os("NATOMA_BIN").map_or_else(|| env!("CARGO_BIN_EXE_natoma").into(), PathBuf::from);
    Some(Console::start(Command::new(program).args(options)))
}

fn quit(mut natoma: Console) {
    natoma.send(QUIT);
    let status = natoma.wait(FIRMWARE);
    assert!(status.success(), "natoma ended with {status}");
    assert_eq!(natoma.complaints(), "");
}

#[test]
fn seabios_finds_nothing_to_boot_and_says_so() {
    let Some(mut natoma) = start(&["-boot", "order=c"]) else { return };
    natoma.expect(BANNER, FIRMWARE);
    natoma.expect("Booting from Hard Disk...", FIRMWARE);
    natoma.expect(NOTHING_BOOTS, FIRMWARE);
    quit(natoma);
}

#[test]
fn its_menu_appears_on_the_serial_port() {
    let Some(mut natoma) = start(&["-boot", "menu=on,splash-time=60000", "-device", "isa-debug-exit"]) else { return };
    natoma.expect("Press ESC for boot menu.", FIRMWARE);
    natoma.send("\x1b");
    natoma.expect("Select boot device:", FIRMWARE);
    quit(natoma);
}

#[test]
fn it_resets_the_machine_when_nothing_boots() {
    let Some(mut natoma) = start(&["-boot", "reboot-timeout=100"]) else { return };
    for _ in 0..2 {
        natoma.expect(BANNER, FIRMWARE);
        natoma.expect("Retrying in", FIRMWARE);
    }
    quit(natoma);
}

#[test]
fn a_floppy_boots() {
    let media = media::Media::new();
    let image = format!("file={},if=floppy,format=raw", media.floppy("A floppy.", media::Then::Exit(3)));
    let port = media.debug_port();
    let options = ["-drive", &image, "-boot", "a", "-debugcon", &port, "-device", "isa-debug-exit"];
    let Some(mut natoma) = start(&options) else { return };
    natoma.expect("Booting from Floppy...", FIRMWARE);
    assert_eq!(natoma.wait(FIRMWARE).code(), Some(3 << 1 | 1));
    assert_eq!(media.told(), "<A floppy.>");
}

#[test]
fn linux_starts_through_firmware() {
    /// Leaves out what takes long where the kernel is interpreted.
    const APPEND: &str = "console=ttyS0 panic=-1 reboot=k lpj=1000000 tsc=reliable mitigations=off noxsave nofsgsbase \
                          rodata=off clearcpuid=erms,smap,popcnt,cx16,rdrand,rdseed,fsrm";
    let (Some(kernel), Some(initrd)) = (test_kernel::file("bzImage-up"), test_kernel::file("initramfs.cpio")) else {
        return;
    };
    let files = [kernel, initrd].map(|file| file.display().to_string());
    let [kernel, initrd] = files.each_ref().map(String::as_str);
    let options = ["-bios", "bios-256k.bin", "-kernel", kernel, "-initrd", initrd, "-append", APPEND];
    let Some(mut natoma) = start(&options) else { return };
    natoma.expect("Booting from ROM...", FIRMWARE);
    natoma.expect("natoma-test: shell ready", SYSTEM);
    natoma.expect("# ", FIRMWARE);
    // Firmware has told of itself, and of the tables it was given.
    natoma.send("dmesg -n 1; stty -echo; PS1=; cat /proc/cmdline; dmesg | grep -c 'ACPI: .*BOCHS'\n");
    natoma.expect(APPEND, FIRMWARE);
    natoma.expect("\n", FIRMWARE);
    let tables = natoma.expect("\n", FIRMWARE).before;
    let found = tables.trim().parse::<u32>();
    assert!(found.is_ok_and(|count| count > 0), "the kernel found {tables:?} ACPI tables");
    natoma.send("poweroff -f\n");
    let status = natoma.wait(FIRMWARE);
    assert!(status.success(), "natoma ended with {status}");
}

#[test]
fn memtest_finds_the_memory() {
    const MEMTEST: &str = "/boot/memtest86+x64.bin";
    if !installed(MEMTEST, "memtest86+") {
        return;
    }
    let options = ["-m", "64", "-bios", "bios-256k.bin", "-kernel", MEMTEST, "-append", "console=ttyS0,115200"];
    let Some(mut natoma) = start(&options) else { return };
    natoma.expect("Memtest86+ v6", SYSTEM);
    natoma.expect("Memory  :   63MB", SYSTEM);
    quit(natoma);
}

/// Lets GRUB look around a machine that has just been started, and switch it off. Returns what it printed.
fn look_around(mut machine: Console) -> String {
    let earliest = since_1970();
    machine.expect(grub::START, SYSTEM);
    let output = machine.expect(grub::END, SYSTEM).before;
    let status = machine.wait(SYSTEM);
    assert!(status.success(), "the machine ended with {status} at GRUB's halt:\n{output}");
    let date = comparison::date(&output);
    assert!(
        date.is_some_and(|date| (earliest - 1..=since_1970()).contains(&date)),
        "GRUB read the date {date:?} from the RTC:\n{output}"
    );
    output
}

fn since_1970() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// QEMU with a floppy and more options. `None` if it is not here.
fn start_qemu(floppy: &str, options: &[&str]) -> Option<Console> {
    let program = "qemu-system-x86_64";
    if let Err(error) = Command::new(program).arg("--version").output() {
        eprintln!("SKIPPED: {program} does not start: {error} (Debian: qemu-system-x86)");
        return None;
    }
    let mut command = Command::new(program);
    // Interrupt controllers outside the kernel: where ring 0 is interpreted, those inside lose the floppy's interrupt. With a
    // display adapter: without one, firmware takes minutes there.
    command.args(["-nodefaults", "-vga", "std", "-enable-kvm", "-machine", "pc,kernel-irqchip=split"]);
    command.args(["-display", "none", "-serial", "stdio", "-m", "64", "-drive", floppy, "-boot", "a"]);
    Some(Console::start(command.args(options)))
}

#[test]
fn grub_boots_from_a_floppy_and_sees_what_it_sees_of_qemu() {
    let Some(floppy) = grub::LOOK_AROUND.floppy() else { return };
    let image = format!("file={},if=floppy,format=raw", floppy.path().display());
    let options = ["-nodefaults", "-display", "none", "-serial", "stdio", "-m", "64", "-drive", &image, "-boot", "a"];
    let Some(natoma) = start_with(&options) else { return };
    let ours = look_around(natoma);
    for wanted in [
        "00:00.0 8086:1237",
        "00:01.0 8086:7000",
        "00:01.1 8086:7010",
        "00:01.3 8086:7113",
        "OEM-ID: BOCHS",
        "IOAPIC ID=00",
    ] {
        assert!(ours.contains(wanted), "{wanted} is not in what GRUB printed:\n{ours}");
    }

    let Some(qemu) = start_qemu(&image, &[]) else { return };
    let theirs = look_around(qemu);
    let differences = comparison::differences(&ours, &theirs, comparison::KNOWN).join("\n");
    assert_eq!(differences, "", "\n--- natoma\n{ours}\n--- QEMU\n{theirs}");
}

/// Lets GRUB restart a machine that is to end then. Returns what it printed and the status.
fn restart(mut machine: Console) -> (String, Option<i32>) {
    machine.expect(grub::START, SYSTEM);
    let output = machine.expect(grub::END, SYSTEM).before;
    (output, machine.wait(SYSTEM).code())
}

#[test]
fn grub_restarts_the_machine_and_ends_one_that_is_not_to_restart_as_it_does_qemus() {
    let Some(floppy) = grub::RESTART.floppy() else { return };
    let image = format!("file={},if=floppy,format=raw", floppy.path().display());
    let options = ["-display", "none", "-serial", "mon:stdio", "-m", "64", "-drive", &image, "-boot", "a"];
    let Some(mut natoma) = start_with(&options) else { return };
    for _ in 0..2 {
        natoma.expect(grub::START, SYSTEM);
        natoma.expect(grub::END, SYSTEM);
    }
    quit(natoma);

    let Some(natoma) = start_with(&[&options[..], &["-no-reboot"]].concat()) else { return };
    let ours = restart(natoma);
    assert_eq!(ours.1, Some(0), "{ours:?}");
    let Some(qemu) = start_qemu(&image, &["-no-reboot"]) else { return };
    assert_eq!(restart(qemu), ours);
}
