//! `-acpitable` and `-smbios`.

use super::*;

#[test]
fn acpi_tables_have_files_and_fields() {
    let tables = machine(
        "-acpitable sig=ABCD,rev=2,oem_id=maker,oem_table_id=machine,oem_rev=3,asl_compiler_id=me,asl_compiler_rev=4,\
         data=a:b -acpitable file=c",
    )
    .acpi_tables;
    let all = AcpiTableConfig {
        files: vec!["a".into(), "b".into()],
        has_header: false,
        signature: Some("ABCD".into()),
        revision: Some(2),
        oem_id: Some("maker".into()),
        oem_table_id: Some("machine".into()),
        oem_revision: Some(3),
        compiler_id: Some("me".into()),
        compiler_revision: Some(4),
    };
    let plain = AcpiTableConfig { files: vec!["c".into()], has_header: true, ..AcpiTableConfig::default() };
    assert_eq!(tables, [all, plain]);
    check_errors(&[
        ("-acpitable sig=ABCD", "-acpitable sig=ABCD: the table is missing: give file=FILE"),
        ("-acpitable file=a,data=b", "-acpitable file=a,data=b: give either file= "),
        ("-acpitable data=a:", "-acpitable data=a:: the name of a file is empty"),
        ("-acpitable data=a,sig=ABCDE", "-acpitable data=a,sig=ABCDE: sig=ABCDE: it holds at most 4 characters"),
        ("-acpitable data=a,rev=256", "-acpitable data=a,rev=256: rev=256: expected a number from 0 to 255"),
    ]);
}

#[test]
fn smbios_structures_are_changed_field_by_field() {
    let smbios = machine(
        "-smbios type=0,vendor=v,release=1.16,uefi=on -smbios type=1,serial=one,product=p -smbios type=1,serial=two,\
         uuid=00112233-4455-6677-8899-aabbccddeeff -smbios type=2,location=rack -smbios type=3,sku=s -smbios type=4,\
         sock_pfx=S,max-speed=3000,processor-id=0xfffffffffffffffe -smbios type=8,port_type=5 -smbios type=8 -smbios \
         type=11,value=a,value=b,path=c -smbios type=17,speed=1600,bank=x -smbios type=41,kind=ethernet,pcidev=n -smbios \
         file=dump.bin",
    )
    .smbios;
    let text = |text: &str| Some(text.to_owned());
    let expected = SmbiosConfig {
        files: vec!["dump.bin".into()],
        bios: Some(SmbiosBios { vendor: text("v"), release: Some((1, 16)), uefi: true, ..SmbiosBios::default() }),
        system: SmbiosSystem {
            serial: text("two"),
            product: text("p"),
            uuid: Some("00112233-4455-6677-8899-aabbccddeeff".parse().unwrap()),
            ..SmbiosSystem::default()
        },
        board: Some(SmbiosBoard { location: text("rack"), ..SmbiosBoard::default() }),
        chassis: SmbiosChassis { sku: text("s"), ..SmbiosChassis::default() },
        processor: SmbiosProcessor {
            socket_prefix: text("S"),
            max_speed: Some(3000),
            id: Some(u64::MAX - 1),
            ..SmbiosProcessor::default()
        },
        ports: vec![SmbiosPort { port_type: 5, ..SmbiosPort::default() }, SmbiosPort::default()],
        oem_strings: vec![SmbiosText::Value("a".into()), SmbiosText::Value("b".into()), SmbiosText::File("c".into())],
        memory: SmbiosMemory { bank: text("x"), speed: 1600, ..SmbiosMemory::default() },
        onboard: vec![SmbiosOnboard { kind: 5, instance: 1, pci_device: text("n"), ..SmbiosOnboard::default() }],
    };
    assert_eq!(smbios, expected);
    check_errors(&[
        ("-smbios serial=1", "-smbios serial=1: it does not say which type of structure: give type=NAME"),
        ("-smbios type=5", "-smbios type=5: there is no type of structure '5'; natoma has 0, 1, 2,"),
        ("-smbios type=1,vendor=x", "-smbios type=1,vendor=x: there is no parameter 'vendor' of type of structure '1'"),
        ("-smbios type=0,release=1", "-smbios type=0,release=1: release=1: expected two numbers up to 255"),
        ("-smbios type=0,release=1.256", "-smbios type=0,release=1.256: release=1.256: expected two numbers"),
        ("-smbios type=1,uuid=1", "-smbios type=1,uuid=1: uuid: expected 8-4-4-4-12 hexadecimal digits"),
        ("-smbios type=41,kind=toaster", "-smbios type=41,kind=toaster: kind=toaster: expected other, unknown,"),
        ("-smbios file=", "-smbios file=: the name of the file is missing"),
    ]);
}
