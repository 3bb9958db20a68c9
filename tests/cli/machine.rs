//! Machines that can't be built: what the host, the kernel image or a file is to blame for.

use crate::support::{natoma, natoma_in_shell, temporary_directory};
use std::fs;
use std::path::Path;

/// Runs natoma and checks that it ends with status 1 and one line on the standard error that has all these pieces.
pub fn check_failure(arguments: &[&str], pieces: &[&str]) {
    let outcome = natoma(arguments);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{arguments:?}: {}", outcome.stderr);
    check_message(&outcome.stderr, pieces);
}

fn check_message(stderr: &str, pieces: &[&str]) {
    assert!(stderr.starts_with("natoma: ") && stderr.ends_with('\n') && stderr.lines().count() == 1, "{stderr}");
    for piece in pieces {
        assert!(stderr.contains(piece), "`{piece}` is not in: {stderr}");
    }
}

/// Whether there is a KVM to test with.
pub fn has_kvm() -> bool {
    let exists = Path::new("/dev/kvm").exists();
    if !exists {
        eprintln!("SKIPPED: there is no /dev/kvm");
    }
    exists
}

#[test]
fn a_file_that_is_no_kernel_is_named_with_the_reason() {
    let directory = temporary_directory("kernels");
    let file = |name: &str, contents: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let program = fs::read(env!("CARGO_BIN_EXE_natoma")).unwrap();
    // A Linux header that promises more set-up sectors than the file has: offsets 0x1f1 and 0x202 of the boot protocol.
    let mut truncated = vec![0; 0x400];
    truncated[0x1f1] = 31;
    truncated[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    truncated[0x202..0x206].copy_from_slice(b"HdrS");
    truncated[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);

    for (path, reason) in [
        ("/nonexistent/vmlinuz".to_owned(), "No such file or directory"),
        (directory.to_str().unwrap().to_owned(), "directory"),
        (file("empty", b""), "empty"),
        (file("noise", &noise), "not a kernel"),
        (file("script", b"#!/bin/sh\n"), "script"),
        (file("program", &program), "program"),
        (file("truncated", &truncated), "truncated"),
    ] {
        check_failure(&["-kernel", &path], &["-kernel", &path, reason]);
    }
}

#[test]
fn limits_of_the_host_are_named_with_the_option() {
    if !has_kvm() {
        return;
    }
    check_failure(&["-smp", "4096"], &["-smp 4096", "at most"]);
    check_failure(&["-m", "900G"], &["-m", "921600 MiB", "use less (-m)"]);
    // Memory that is only promised gets as far as the width of an address, which is 40 bits for the default processor.
    let promised = ["-object", "memory-backend-ram,id=ram,size=2T,reserve=off", "-machine", "memory-backend=ram"];
    check_failure(&[&promised[..], &["-m", "2T"]].concat(), &["-m", "40 physical address bits", "less RAM"]);
    check_failure(&["-m", "1.5M"], &["-m", "1536 KiB", "at least 2 MiB"]);
    check_failure(&["-mem-path", "/nonexistent/ram"], &["/nonexistent/ram", "No such file or directory"]);
    check_failure(&["-machine", "kernel-irqchip=off"], &["kernel-irqchip=off", "local APICs", "kernel-irqchip=split"]);
}

#[test]
fn a_log_file_that_cannot_be_written_is_named() {
    check_failure(&["-D", "/nonexistent/log"], &["-D /nonexistent/log", "No such file or directory"]);
}

/// What is wrong with /dev/kvm: a shell script that makes it so in a mount namespace of its own, and what natoma says.
#[test]
fn troubles_with_kvm_are_told_apart() {
    let hidden = "mount -t tmpfs none /dev";
    let forbidden = "mount -t tmpfs none /dev && mknod -m 600 /dev/kvm c 10 232";
    let other = "mount -t tmpfs none /dev && mknod -m 666 /dev/kvm c 1 3";
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    for (script, runner, pieces) in [
        (hidden, "", ["/dev/kvm", "does not exist", "modprobe"]),
        (forbidden, nobody, ["/dev/kvm", "permission", "group"]),
        (other, "", ["/dev/kvm", "-accel kvm", "KVM"]),
    ] {
        let Some(outcome) = natoma_in_shell(script, runner) else {
            eprintln!("SKIPPED: this needs to be root with a mount namespace: {script}");
            return;
        };
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{script}: {}", outcome.stderr);
        check_message(&outcome.stderr, &pieces);
    }
}

#[test]
fn a_character_device_that_cannot_be_opened_is_named() {
    if !has_kvm() {
        return;
    }
    let directory = temporary_directory("chardevs");
    let file = directory.join("file");
    fs::write(&file, "").unwrap();
    let below_file = format!("{}/socket", file.display());
    for (device, reason) in [
        ("file:/nonexistent/log".to_owned(), "No such file or directory"),
        ("pipe:/nonexistent/pipe".to_owned(), "No such file or directory"),
        ("/dev/nonexistent".to_owned(), "No such file or directory"),
        ("/dev/null".to_owned(), ""),
        ("unix:/nonexistent/socket".to_owned(), "No such file or directory"),
        ("unix:/nonexistent/socket,server=on,wait=off".to_owned(), "No such file or directory"),
        (format!("unix:{below_file},server=on,wait=off"), "Not a directory"),
        // Nothing listens on port 1 (tcpmux).
        ("tcp:127.0.0.1:1".to_owned(), "Connection refused"),
        ("tcp:192.0.2.1:4444,server=on,wait=off".to_owned(), "Cannot assign requested address"),
        ("tcp:host.invalid:1".to_owned(), "host.invalid"),
    ] {
        let shown = device.split(',').next().unwrap();
        check_failure(&["-serial", &device], &[&format!("natoma: -serial {shown}: "), reason]);
    }
    check_failure(&["-chardev", "socket,id=c,fd=99,server=on", "-serial", "chardev:c"], &["fd=99"]);
    check_failure(&["-serial", "null", "-chardev", "null,id=c,logfile=/nonexistent/l"], &["/nonexistent/l"]);
}

#[test]
fn a_pidfile_that_cannot_be_written_is_named() {
    if has_kvm() {
        check_failure(&["-pidfile", "/nonexistent/pid"], &["-pidfile /nonexistent/pid", "No such file or directory"]);
    }
}
