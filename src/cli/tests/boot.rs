//! What is booted, and what firmware is told.

use super::*;

#[test]
fn firmware_starts_where_there_is_something_to_boot() {
    let boot = |line: &str| machine(line).boot;
    assert_eq!(boot("").firmware, Firmware::None, "the built-in guest");
    assert_eq!(boot("-kernel k").firmware, Firmware::None);
    assert_eq!(boot("-kernel k -boot c").firmware, Firmware::None);
    assert_eq!(boot("-kernel k -bios b").firmware, Firmware::File("b".into()));
    assert_eq!(boot("-machine firmware=b -L x -L y").firmware, Firmware::File("b".into()));
    assert_eq!(boot("-L x -L y").directories, [PathBuf::from("x"), "y".into()]);
    for line in ["-boot c", "-boot menu=on", "-M pc,boot.strict=on", "-option-rom r", "-no-fd-bootchk"] {
        assert_eq!(boot(line).firmware, Firmware::Default, "{line}");
    }

    let all = "-boot dan,once=c,menu=on,splash=p.jpg,splash-time=5000,reboot-timeout=10,strict=on -no-fd-bootchk";
    assert_eq!(
        boot(all).order,
        BootOrder {
            order: "dan".into(),
            once: Some("c".into()),
            menu: true,
            splash: Some("p.jpg".into()),
            splash_time: Some(5000),
            reboot_timeout: Some(10),
            strict: true,
            check_floppy: false,
        }
    );
    assert_eq!(
        boot("-boot reboot-timeout=-1 -M pc,boot.order=n").order,
        BootOrder { order: "n".into(), ..Default::default() }
    );
    let rom = |file: &str, bootindex| OptionRom { file: file.into(), bootindex };
    assert_eq!(boot("-option-rom a -option-rom b,,c,bootindex=3").option_roms, [rom("a", None), rom("b,c", Some(3))]);
    let file = |name: &str, contents| FirmwareFile { name: name.into(), contents };
    assert_eq!(
        boot("-fw_cfg opt/a,string=x,,y -fw_cfg name=opt/b,file=/f -fw_cfg opt/c,string=").files,
        [
            file("opt/a", FirmwareFileContents::String("x,y".into())),
            file("opt/b", FirmwareFileContents::File("/f".into())),
            file("opt/c", FirmwareFileContents::String(String::new())),
        ]
    );
    let warnings = command_line("-fw_cfg etc/a,string=x").unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("opt/"), "{warnings:?}");

    let long = format!("-fw_cfg opt/{},string=x", "x".repeat(52));
    check_errors(&[
        ("-boot x", "-boot x: 'x' is no boot device of a PC"),
        ("-boot cc", "-boot cc: the boot device 'c' is given twice"),
        ("-boot abcd", "-boot abcd: a PC has room for 3 boot devices"),
        ("-boot once=z", "-boot once=z: 'z' is no boot device of a PC"),
        ("-boot splash-time=65536", "-boot splash-time=65536: splash-time=65536: expected a number from 0 to 65535"),
        ("-boot reboot-timeout=-2", "-boot reboot-timeout=-2: reboot-timeout is a number of milliseconds up to 65535"),
        ("-fw_cfg opt/a", "-fw_cfg opt/a: expected a name and either file=FILE or string=TEXT"),
        ("-fw_cfg opt/a,file=f,string=x", "-fw_cfg opt/a,file=f,string=x: expected a name and either"),
        ("-fw_cfg string=x", "-fw_cfg string=x: the file has no name"),
        ("-fw_cfg opt/a,string=x -fw_cfg opt/a,string=y", "-fw_cfg opt/a,string=y: there are two files 'opt/a'"),
        (&long, &format!("{long}: the name has 56 bytes; at most 55 fit")),
        ("-option-rom bootindex=1", "-option-rom bootindex=1: the name of the image is missing"),
    ]);
}

#[test]
fn what_only_firmware_acts_on_is_told_where_there_is_none() {
    let warnings = |line: &str| command_line(line).unwrap().warnings;
    let told = warnings("-kernel k -boot menu=on -option-rom r -no-fd-bootchk");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].starts_with("-option-rom r: firmware would act on this"), "{told:?}");
    for heard in ["-kernel k -boot c -bios b", "-boot menu=on", "-kernel k -boot c -pflash f", "-kernel k"] {
        assert_eq!(warnings(heard), [""; 0], "{heard}");
    }
}
