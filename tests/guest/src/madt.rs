//! Processors and interrupt controllers as the firmware describes them: the MADT of ACPI or, without ACPI, the MP table.
