//! A real kernel in natoma, as a person runs it: Linux 6.1 to a shell, commands typed on standard input, and the end.
//!
//! Where the guest's kernel is interpreted a boot takes 10 to 40 seconds, so that each of them has several things to show.
//! Between them the boots cover the single- and the multiprocessor kernel, as vmlinux and as bzImage, with nothing but a
//! console on the command line and with all that makes a boot short; each with another form of `-rtc`.

mod clocks;
mod complaints;
mod console;
mod devices;
mod disk_tools;
mod disks;
mod guest;
mod multiboot;
mod qmp;
mod scsi;
mod sleep;
mod test_kernel;

use clocks::Base;
use guest::{BARE, FULL, Guest};

/// Checks that the guest's kernel had nothing to complain about but what is expected.
fn check_log(guest: &mut Guest, expected: &[&str]) {
    let log = guest.run("dmesg -r");
    guest.check(log.contains("Linux version"), || "the kernel's log is not complete".to_string());
    let complaints = complaints::complaints(&log, expected).join("\n");
    guest.check(complaints.is_empty(), || format!("the guest's kernel complains:\n{complaints}"));
}

/// Checks how many processors the guest has, and that each of them does its work.
fn check_processors(guest: &mut Guest, count: usize) {
    let online = guest.run("nproc");
    guest.check(online == count.to_string(), || format!("nproc says {online} instead of {count}"));
    for cpu in 0..count {
        let counted = guest.run(&format!("echo $(taskset {:x} seq 4)", 1 << cpu));
        guest.check(counted == "1 2 3 4", || format!("processor {cpu} counted {counted}"));
    }
}

/// A serial card behind two bridges.
const BEHIND_BRIDGES: &[&str] = &[
    "-device",
    "pci-bridge,id=outer,chassis_nr=1,addr=4",
    "-device",
    "pci-bridge,id=inner,chassis_nr=2,bus=outer,addr=2",
    "-device",
    "pci-serial,bus=inner,addr=3",
];

/// Checks that the card of [`BEHIND_BRIDGES`] interrupts: INTA# of slot 3 is INTD# of slot 2, which is INTB# of slot 4, PIRQA,
/// which is routed to interrupt 10.
fn check_behind_bridges(guest: &mut Guest) {
    let irq = guest.run("cat /sys/bus/pci/devices/0000:02:03.0/irq; cat /sys/class/tty/ttyS1/irq");
    guest.check(irq == "10\n10", || format!("the card behind bridges has interrupt {irq}"));
    // The driver sends by interrupts, and waits for the end when it closes.
    guest.run("echo Hello from behind the bridges > /dev/ttyS1");
    let line = guest.run("grep ' 10:' /proc/interrupts");
    let counts = line.split_whitespace().skip(1).map_while(|count| count.parse::<u32>().ok());
    guest.check(counts.sum::<u32>() > 0, || format!("the card behind bridges does not interrupt: {line}"));
}

/// Types the last command and checks that natoma ends well and in silence.
fn end(guest: Guest, command: &str) {
    let (status, complaints) = guest.end(command);
    assert!(status.success(), "natoma ended with {status} after {command}");
    assert_eq!(complaints, "", "natoma complained");
}

#[test]
fn vmlinux_up_with_only_a_console() {
    let Some(mut guest) = Guest::boot("vmlinux-up", BARE, &["-nographic"]) else { return };
    check_processors(&mut guest, 1);
    clocks::check_rtc(&mut guest, Base::Utc);
    check_log(&mut guest, &[]);
    // Only now: a busy host loses ticks of the HPET that Linux counts the alarm by, of which it complains.
    clocks::check_alarm(&mut guest);
    // Ctrl-A b is a break on the line, which makes the next character a command for the kernel.
    guest.run("dmesg -n 8");
    guest.send("\x01bh");
    guest.expect("sysrq: HELP : ");
    guest.expect("\n");
    end(guest, "poweroff -f");
}

#[test]
fn vmlinux_up_boots_again_after_reboot() {
    let options = ["-display", "none", "-serial", "stdio", "-rtc", "base=localtime,clock=vm"];
    let Some(mut guest) = Guest::boot("vmlinux-up", FULL, &options) else { return };
    check_processors(&mut guest, 1);
    guest.send("reboot -f\n");
    guest.expect_shell();
    clocks::check_rtc(&mut guest, Base::LocalTime);
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
}

#[test]
fn bzimage_up_with_only_a_console_ends_at_reboot() {
    let date = format!("base={},clock=rt", Base::DATE);
    let Some(mut guest) = Guest::boot("bzImage-up", BARE, &["-nographic", "-no-reboot", "-rtc", &date]) else { return };
    check_processors(&mut guest, 1);
    clocks::check_rtc(&mut guest, Base::Date);
    end(guest, "reboot -f");
}

#[test]
fn bzimage_up_powers_off_in_good_order() {
    let Some(mut guest) = Guest::boot("bzImage-up", FULL, &["-nographic", "-rtc", "base=utc,clock=vm"]) else { return };
    check_processors(&mut guest, 1);
    clocks::check_rtc(&mut guest, Base::Utc);
    check_log(&mut guest, &[]);
    end(guest, "poweroff");
}

/// 8259s, I/O APIC and PIT on the board; once by the I/O APIC, once by the 8259s alone, and after a reset.
#[test]
fn interrupt_controllers_outside_the_kernel() {
    let options = ["-nographic", "-machine", "pc,kernel-irqchip=split"];
    let Some(mut guest) = Guest::boot("bzImage-up", &format!("{FULL} noapic nolapic"), &options) else { return };
    let interrupts = guest.run("cat /proc/interrupts");
    guest.check(interrupts.contains("XT-PIC"), || format!("the 8259s are not used:\n{interrupts}"));
    clocks::check_rtc(&mut guest, Base::Utc);
    guest.send("reboot -f\n");
    guest.expect_shell();
    end(guest, "poweroff -f");

    let options = [&options[..], &["-smp", "2"]].concat();
    let Some(mut guest) = Guest::boot("bzImage-smp", FULL, &options) else { return };
    check_processors(&mut guest, 2);
    let interrupts = guest.run("cat /proc/interrupts");
    guest.check(interrupts.contains("IO-APIC"), || format!("the I/O APIC is not used:\n{interrupts}"));
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
}

#[test]
fn vmlinux_smp_with_only_a_console() {
    let options = ["-nographic", "-smp", "2", "-rtc", "base=utc,clock=rt"];
    let options = [&options[..], BEHIND_BRIDGES].concat();
    let Some(mut guest) = Guest::boot("vmlinux-smp", BARE, &options) else { return };
    check_processors(&mut guest, 2);
    check_behind_bridges(&mut guest);
    clocks::check_rtc(&mut guest, Base::Utc);
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
}

#[test]
fn vmlinux_smp_keeps_time_with_every_clock_source() {
    let date = format!("base={},clock=host", Base::DATE);
    // The TSC is a clock source only where the processor promises that it never changes its rate.
    let options = ["-nographic", "-smp", "2", "-cpu", "host,+invtsc", "-rtc", &date];
    let Some(mut guest) = Guest::boot("vmlinux-smp", FULL, &options) else { return };
    check_processors(&mut guest, 2);
    clocks::check_rtc(&mut guest, Base::Date);
    guest.run("cd /sys/devices/system/clocksource/clocksource0");
    for clock in ["kvm-clock", "tsc", "hpet", "acpi_pm"] {
        guest.run(&format!("echo {clock} > current_clocksource"));
        let current = guest.run("cat current_clocksource");
        guest.check(current == clock, || format!("the clock source is {current} instead of {clock}"));
        clocks::check_rate(&mut guest, clock);
    }
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
}

#[test]
fn bzimage_smp_with_only_a_console_on_one_processor() {
    let options = ["-nographic", "-rtc", "base=localtime,clock=host"];
    let Some(mut guest) = Guest::boot("bzImage-smp", BARE, &options) else { return };
    check_processors(&mut guest, 1);
    clocks::check_rtc(&mut guest, Base::LocalTime);
    check_log(&mut guest, &[]);
    end(guest, "poweroff -f");
}

#[test]
fn bzimage_smp_takes_a_processor_out_and_in() {
    let date = format!("base={},clock=vm", Base::DATE);
    let options = ["-nographic", "-no-reboot", "-smp", "2,sockets=2,cores=1", "-rtc", &date];
    let Some(mut guest) = Guest::boot("bzImage-smp", FULL, &options) else { return };
    check_processors(&mut guest, 2);
    clocks::check_rtc(&mut guest, Base::Date);
    guest.run("cd /sys/devices/system/cpu/cpu1; echo 0 > online");
    check_processors(&mut guest, 1);
    guest.run("echo 1 > online");
    check_processors(&mut guest, 2);
    end(guest, "reboot -f");
}

#[test]
fn vmlinux_smp_without_acpi_finds_its_way_by_the_mp_table() {
    let options = ["-nographic", "-no-acpi", "-no-hpet", "-no-reboot", "-smp", "2", "-rtc", "base=localtime,clock=rt"];
    let options = [&options[..], BEHIND_BRIDGES].concat();
    let Some(mut guest) = Guest::boot("vmlinux-smp", FULL, &options) else { return };
    check_processors(&mut guest, 2);
    check_behind_bridges(&mut guest);
    clocks::check_rtc(&mut guest, Base::LocalTime);
    // Linux warns of each bridge through which it finds an interrupt in the MP table.
    let through_bridge = ["pci 0000:01:02.0: using bridge 0000:00:04.0 INT "];
    check_log(&mut guest, &[complaints::WITHOUT_ACPI, &through_bridge].concat());
    end(guest, "reboot -f");
}
