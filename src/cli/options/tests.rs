//! The table agrees with itself and with QEMU 7.2.

use super::*;
use crate::cli::keyval::{Key, Support};
use std::collections::HashSet;

/// Options of `qemu-system-x86_64` 7.2 that take an argument, measured on the program.
const WITH_ARGUMENT: &str = "D L M accel acpitable action add-fd append audio audiodev bios blockdev boot cdrom chardev \
    chroot compat cpu d debugcon device dfilter display drive dtb dump-vmstate echr fda fdb fsdev fw_cfg g gdb global hda \
    hdb hdc hdd icount incoming initrd iscsi k kernel loadvm m machine mem-path mon monitor msg mtdblock name net netdev \
    nic numa object option-rom overcommit parallel pflash pidfile plugin prom-env qmp qmp-pretty qtest qtest-log readconfig \
    rotate rtc runas sandbox sd seed semihosting-config serial set smbios smp spice tpmdev trace usbdevice uuid vga virtfs \
    vnc watchdog-action xen-domid";

/// Those that take none. (`-help` takes one here.)
const WITHOUT_ARGUMENT: &str = "S async-teardown audio-help daemonize enable-kvm enable-sync-profile full-screen \
    mem-prealloc no-acpi no-fd-bootchk no-hpet no-reboot no-shutdown no-user-config nodefaults nographic old-param \
    only-migratable portrait preconfig s semihosting singlestep snapshot usb version win2k-hack xen-attach \
    xen-domid-restrict";

#[test]
fn every_option_of_qemu_is_known_with_its_arity() {
    for name in WITH_ARGUMENT.split_whitespace() {
        assert!(find(name).is_some_and(OptionSpec::takes_argument), "-{name}");
    }
    for name in WITHOUT_ARGUMENT.split_whitespace() {
        assert!(find(name).is_some_and(|option| !option.takes_argument()), "-{name}");
    }
    assert!(find("h").is_some() && find("help").is_some());
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    for name in all().flat_map(|option| [Some(option.name), option.alias]).flatten() {
        assert!(seen.insert(name), "-{name} is there twice");
    }
    let mut groups = HashSet::new();
    for group in all().filter_map(|option| option.group) {
        assert!(groups.insert(group), "[{group}] is there twice");
    }
    for (owner, keys) in key_lists() {
        let mut seen = HashSet::new();
        for key in keys {
            assert!(seen.insert(key.name), "{owner}: {} is there twice", key.name);
        }
    }
}

#[test]
fn sugar_and_moved_keys_lead_to_keys_of_the_same_kind() {
    for option in all() {
        if let Effect::Sugar { option: target, key, value } = option.effect {
            assert_eq!(value.is_none(), option.takes_argument(), "-{}", option.name);
            let schema = schema(target).unwrap();
            if let Some(value) = value {
                schema.entry(key, value).unwrap();
            }
            assert!(schema.keys.iter().any(|known| known.name == key), "-{}", option.name);
        }
    }
    for (owner, keys) in key_lists() {
        for key in keys {
            if let Support::Moved(option, name) = key.support {
                let target = schema(option).unwrap().keys.iter().find(|key| key.name == name).unwrap();
                // A size without a suffix may count other units in the other place.
                let same = std::mem::discriminant(&target.kind) == std::mem::discriminant(&key.kind);
                assert!(same && matches!(target.support, Support::Works), "{owner}: {}", key.name);
            }
        }
    }
}

#[test]
fn everything_that_works_is_described_and_everything_else_says_what_to_use() {
    for option in all() {
        match option.effect {
            Effect::Missing { instead, .. } => assert!(!instead.is_empty(), "-{}", option.name),
            _ => assert!(!option.help.is_empty() && !option.help.ends_with('.'), "-{}", option.name),
        }
        assert_eq!(option.section == Section::Missing, option.help.is_empty(), "-{}", option.name);
        for paragraph in option.details.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            assert!(paragraph.ends_with(['.', ':']), "-{}: {paragraph}", option.name);
        }
    }
    for (owner, keys) in key_lists() {
        for key in keys {
            match key.support {
                Support::Works => assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{owner}: {}", key.name),
                Support::Moved(..) => {}
                Support::Missing { harmless, instead } => {
                    assert!(!harmless.is_empty() || !instead.is_empty(), "{owner}: {}", key.name);
                }
            }
        }
    }
}

/// Every list of keys that one parser can see at once.
fn key_lists() -> Vec<(String, Vec<&'static Key>)> {
    let mut lists = Vec::new();
    for option in all() {
        let Argument::List(_, schema) = option.argument else { continue };
        if schema.variants.is_empty() {
            lists.push((format!("-{}", option.name), schema.keys.iter().collect()));
        }
        for variant in schema.variants {
            let keys = variant.keys.iter().chain(schema.keys).collect();
            lists.push((format!("-{} {}", option.name, variant.name), keys));
        }
    }
    lists.extend(BOARD_DRIVERS.iter().map(|driver| (driver.name.to_owned(), driver.keys.iter().collect())));
    lists
}
