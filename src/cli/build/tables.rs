//! `-acpitable` and `-smbios`: firmware tables of the user's.

use crate::cli::error::UsageError;
use crate::cli::keyval::KeyValues;
use crate::cli::settings::{Occurrence, Settings};
use crate::config::{
    AcpiTableConfig, SmbiosBios, SmbiosBoard, SmbiosChassis, SmbiosConfig, SmbiosMemory, SmbiosOnboard, SmbiosPort,
    SmbiosProcessor, SmbiosSystem, SmbiosText,
};

use crate::cli::options::ONBOARD_KINDS;

/// Reads `-acpitable`.
pub fn acpi(settings: &Settings) -> Result<Vec<AcpiTableConfig>, UsageError> {
    settings.all("acpitable").map(acpi_table).collect()
}

fn acpi_table(given: &Occurrence) -> Result<AcpiTableConfig, UsageError> {
    let Some(list) = given.list() else { return Err(given.origin.error("its keys are missing")) };
    let (files, has_header) = match (list.text("file"), list.text("data")) {
        (Some(files), None) => (files, true),
        (None, Some(files)) => (files, false),
        (Some(_), Some(_)) => {
            return Err(given
                .origin
                .error("give either file= (a table with its header) or data= (one without), not both"));
        }
        (None, None) => {
            return Err(given
                .origin
                .error("the table is missing: give file=FILE (with its header) or data=FILE (without)"));
        }
    };
    let files: Vec<_> = files.split(':').map(Into::into).collect();
    if files.iter().any(|file: &std::path::PathBuf| file.as_os_str().is_empty()) {
        return Err(given.origin.error("the name of a file is empty"));
    }
    let text = |key: &str, most: usize| match list.text(key) {
        Some(text) if text.len() > most => {
            Err(given.origin.error(format_args!("{key}={text}: it holds at most {most} characters")))
        }
        text => Ok(text.map(str::to_owned)),
    };
    Ok(AcpiTableConfig {
        files,
        has_header,
        signature: text("sig", 4)?,
        revision: list.number("rev"),
        oem_id: text("oem_id", 6)?,
        oem_table_id: text("oem_table_id", 8)?,
        oem_revision: list.number("oem_rev"),
        compiler_id: text("asl_compiler_id", 4)?,
        compiler_revision: list.number("asl_compiler_rev"),
    })
}

/// Reads `-smbios`.
pub fn smbios(settings: &Settings) -> Result<SmbiosConfig, UsageError> {
    let mut smbios = SmbiosConfig::default();
    for given in settings.all("smbios") {
        let Some(list) = given.list() else { return Err(given.origin.error("its keys are missing")) };
        // A zero ends a text in the tables.
        if let Some(entry) = list.entries.iter().find(|entry| entry.text.contains('\0')) {
            return Err(given.origin.error(format_args!("{}: the text contains a zero byte", entry.key)));
        }
        match list.variant {
            Some("file") => match list.text("file").filter(|file| !file.is_empty()) {
                Some(file) => smbios.files.push(file.into()),
                None => return Err(given.origin.error("the name of the file is missing")),
            },
            Some("0") => bios(given, list, smbios.bios.get_or_insert_default())?,
            Some("1") => system(given, list, &mut smbios.system)?,
            Some("2") => {
                let SmbiosBoard { manufacturer, product, version, serial, asset, location } =
                    smbios.board.get_or_insert_default();
                set(list, [("manufacturer", manufacturer), ("product", product), ("version", version)]);
                set(list, [("serial", serial), ("asset", asset), ("location", location)]);
            }
            Some("3") => {
                let SmbiosChassis { manufacturer, version, serial, asset, sku } = &mut smbios.chassis;
                set(list, [("manufacturer", manufacturer), ("version", version), ("serial", serial)]);
                set(list, [("asset", asset), ("sku", sku)]);
            }
            Some("4") => processor(list, &mut smbios.processor),
            Some("8") => smbios.ports.push(SmbiosPort {
                internal_reference: list.text("internal_reference").map(str::to_owned),
                external_reference: list.text("external_reference").map(str::to_owned),
                connector_type: list.number("connector_type").unwrap_or(0),
                port_type: list.number("port_type").unwrap_or(0),
            }),
            Some("11") => smbios.oem_strings.extend(list.entries.iter().map(|entry| match entry.key {
                "path" => SmbiosText::File(entry.text.clone().into()),
                _ => SmbiosText::Value(entry.text.clone()),
            })),
            Some("17") => {
                let SmbiosMemory { location_prefix, bank, manufacturer, serial, asset, part, speed } =
                    &mut smbios.memory;
                set(list, [("loc_pfx", location_prefix), ("bank", bank), ("manufacturer", manufacturer)]);
                set(list, [("serial", serial), ("asset", asset), ("part", part)]);
                *speed = list.number("speed").unwrap_or(*speed);
            }
            _ => smbios.onboard.push(onboard(list)),
        }
    }
    Ok(smbios)
}

/// Sets the fields that the list names.
fn set<const N: usize>(list: &KeyValues, fields: [(&str, &mut Option<String>); N]) {
    for (key, field) in fields {
        if let Some(text) = list.text(key) {
            *field = Some(text.to_owned());
        }
    }
}

fn bios(given: &Occurrence, list: &KeyValues, bios: &mut SmbiosBios) -> Result<(), UsageError> {
    let SmbiosBios { vendor, version, date, release, uefi } = bios;
    set(list, [("vendor", vendor), ("version", version), ("date", date)]);
    if let Some(text) = list.text("release") {
        let numbers = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        *release = Some(numbers.ok_or_else(|| {
            given.origin.error(format_args!("release={text}: expected two numbers up to 255, as in 1.16"))
        })?);
    }
    *uefi = list.flag("uefi").unwrap_or(*uefi);
    Ok(())
}

fn system(given: &Occurrence, list: &KeyValues, system: &mut SmbiosSystem) -> Result<(), UsageError> {
    let SmbiosSystem { manufacturer, product, version, serial, uuid, sku, family } = system;
    set(list, [("manufacturer", manufacturer), ("product", product), ("version", version)]);
    set(list, [("serial", serial), ("sku", sku), ("family", family)]);
    if let Some(text) = list.text("uuid") {
        *uuid =
            Some(super::run::parse_uuid(text).map_err(|problem| given.origin.error(format_args!("uuid: {problem}")))?);
    }
    Ok(())
}

fn processor(list: &KeyValues, processor: &mut SmbiosProcessor) {
    let SmbiosProcessor { socket_prefix, manufacturer, version, serial, asset, part, max_speed, current_speed, id } =
        processor;
    set(list, [("sock_pfx", socket_prefix), ("manufacturer", manufacturer), ("version", version)]);
    set(list, [("serial", serial), ("asset", asset), ("part", part)]);
    *max_speed = list.number("max-speed").or(*max_speed);
    *current_speed = list.number("current-speed").or(*current_speed);
    *id = list.number("processor-id").or(*id);
}

fn onboard(list: &KeyValues) -> SmbiosOnboard {
    let kind = list.choice::<String>("kind");
    let kind = kind.and_then(|kind| ONBOARD_KINDS.iter().position(|known| *known == kind)).unwrap_or(0);
    SmbiosOnboard {
        designation: list.text("designation").map(str::to_owned),
        kind: kind as u8 + 1,
        instance: list.number("instance").unwrap_or(1),
        pci_device: list.text("pcidev").map(str::to_owned),
    }
}
