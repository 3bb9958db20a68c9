use super::*;
use crate::base::contract::{self, ResetValue, Subject};
use crate::base::{IrqLine, IrqProbe, lock, shared};
use crate::chipset::gpe::GpeBlock;
use crate::chipset::hotplug::testing::Told;

struct Board {
    registers: CpuHotplug,
    told: Arc<Told>,
    gpe: Arc<GpeBlock>,
    sci: IrqProbe,
}

/// Room for four processors, of which the APIC ids are not consecutive; two are there.
fn board() -> Board {
    let (line, sci) = IrqLine::probed();
    let gpe = GpeBlock::new(line);
    let told = Arc::new(Told::default());
    let registers = CpuHotplug::new(&[0, 1, 4, 9], 2, gpe.input(2), told.clone());
    Board { registers, told, gpe, sci }
}

/// With the registers in place of the bitmap.
fn modern() -> Board {
    let mut board = board();
    board.write(0, 4, 0);
    board
}

impl Board {
    fn read(&mut self, offset: u64, size: u8) -> u64 {
        self.registers.read(0, offset, size)
    }

    fn write(&mut self, offset: u64, size: u8, value: u64) {
        self.registers.write(0, offset, size, value);
    }

    fn select(&mut self, cpu: u64) {
        self.write(0, 4, cpu);
    }
}

#[test]
fn begins_as_a_bitmap_of_apic_ids() {
    let mut board = board();
    assert_eq!([0, 1, 2, 31].map(|at| board.read(at, 1)), [0b11, 0, 0, 0]);
    assert_eq!(board.read(0, 4), 0b11, "one byte of it, however wide the access");
    board.registers.plug(3);
    assert_eq!((board.read(0, 1), board.read(1, 1)), (0b11, 0b10));
}

/// The sequence was also run on QEMU 7.2 with `-smp 3,maxcpus=16`.
#[test]
fn a_zero_at_the_first_port_changes_to_the_registers_for_good() {
    let mut board = board();
    for (offset, value) in [(4, 0), (0, 1), (1, 0)] {
        board.write(offset, 4, value);
        assert_eq!(board.read(0, 1), 0b11, "not by {value} at {offset}");
    }
    board.write(0, 1, 0);
    assert_eq!((board.read(0, 1), board.read(4, 1), board.read(8, 4)), (0, 1, 0));
    assert_eq!((board.read(12, 4), board.read(31, 1)), (0xffff_ffff, 0xff), "what is left does not decode");
    board.registers.reset(ResetKind::System);
    assert_eq!(board.read(4, 1), 1, "a reset does not bring the bitmap back");
    board.registers.reset(ResetKind::PowerOn);
    assert_eq!(board.read(0, 1), 0b11);
}

#[test]
fn tells_of_the_selected_processor() {
    let mut board = modern();
    for (cpu, flags, apic_id) in [(0, 1, 0), (1, 1, 1), (2, 0, 4), (3, 0, 9)] {
        board.select(cpu);
        assert_eq!(board.read(4, 1), flags);
        board.write(5, 1, 3);
        assert_eq!((board.read(8, 4), board.read(0, 4)), (apic_id, 0));
        board.write(5, 1, 0);
        assert_eq!(board.read(8, 4), cpu, "the selector");
    }
    for beyond in [4, u64::from(u32::MAX)] {
        board.select(beyond);
        assert_eq!((board.read(4, 1), board.read(8, 4)), (0, 0));
        for (offset, value) in [(4, 0x0e), (5, 0), (8, 1)] {
            board.write(offset, 1, value);
        }
        assert_eq!(board.read(8, 4), 0, "no command is taken there");
    }
    assert_eq!(board.told.take(), [""; 0]);
}

#[test]
fn a_new_processor_raises_the_event_until_the_guest_knows() {
    let mut board = modern();
    board.gpe.change(|registers| registers.enable = 1 << 2);
    board.registers.plug(0);
    board.registers.plug(4);
    assert!(!board.sci.level(), "one that was there, one that can't be");
    board.registers.plug(2);
    board.registers.plug(3);
    assert!(board.sci.level());
    assert_eq!(board.gpe.registers().status, 1 << 2);

    // As the method of the event walks them.
    board.select(0);
    board.write(5, 1, 0);
    assert_eq!((board.read(8, 4), board.read(4, 1)), (2, 0b11));
    board.write(4, 1, 1 << 1);
    assert_eq!(board.read(4, 1), 1);
    board.write(5, 1, 0);
    assert_eq!((board.read(8, 4), board.read(4, 1)), (3, 0b11));
    board.write(4, 1, 1 << 1);
    board.write(5, 1, 0);
    assert_eq!((board.read(8, 4), board.read(4, 1)), (3, 1), "no further event: the selection stays");
}

#[test]
fn the_search_for_an_event_goes_round() {
    let mut board = modern();
    board.registers.request_unplug(1);
    board.select(3);
    board.write(5, 1, 0);
    assert_eq!(board.read(8, 4), 1);
}

#[test]
fn the_guest_lets_go_when_asked() {
    let mut board = modern();
    board.registers.request_unplug(2);
    assert_eq!(board.gpe.registers().status, 0, "it is not there");
    board.registers.request_unplug(1);
    assert_eq!(board.gpe.registers().status, 1 << 2);
    board.select(1);
    assert_eq!(board.read(4, 1), 0b101);
    board.write(4, 1, 1 << 2);
    assert_eq!(board.read(4, 1), 0b001);
    board.write(4, 1, 1 << 3);
    assert_eq!(board.told.take(), ["cpu 1"]);
    board.registers.unplugged(1);
    assert_eq!(board.read(4, 1), 0);
    board.write(4, 1, 1 << 3);
    board.select(0);
    board.write(4, 1, 1 << 3);
    assert_eq!(board.told.take(), [""; 0], "neither an absent processor nor the first goes");
}

#[test]
fn firmware_can_be_made_to_let_go() {
    let mut board = modern();
    for cpu in [0, 2] {
        board.select(cpu);
        board.write(4, 1, 1 << 4);
        assert_eq!(board.read(4, 1) & 1 << 4, 0, "CPU {cpu}");
    }
    board.select(1);
    board.write(4, 1, 1 << 4);
    assert_eq!(board.read(4, 1), 0b1_0001);
    board.select(2);
    board.write(5, 1, 0);
    assert_eq!(board.read(8, 4), 1, "it counts as an event");
    board.write(4, 1, 1 << 4);
    assert_eq!(board.read(4, 1), 0b1_0001, "it stands");
    board.write(4, 1, 1 << 3);
    assert_eq!((board.read(4, 1), board.told.take()), (1, vec!["cpu 1".to_owned()]));
}

#[test]
fn takes_the_commands_that_there_are() {
    let mut board = modern();
    board.select(3);
    board.write(5, 1, 3);
    for command in 4..=255 {
        board.write(5, 1, command);
        assert_eq!(board.read(8, 4), 9, "still the APIC id");
    }
}

#[test]
fn passes_on_what_the_guest_reports() {
    let mut board = modern();
    board.select(1);
    board.write(5, 1, 1);
    board.write(8, 4, 0x103);
    assert_eq!(board.told.take(), [""; 0]);
    board.write(5, 1, 2);
    board.write(8, 4, 0x81);
    assert_eq!(board.told.take(), ["cpu 1 event 259 status 129"]);
    assert_eq!(board.read(8, 4), 0, "write only");
    board.write(5, 1, 3);
    board.write(8, 4, 7);
    assert_eq!(board.told.take(), [""; 0]);
}

#[test]
fn refuses_states_of_other_machines() {
    let mut board = modern();
    let good = board.registers.save();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut bad = good.clone();
        change(&mut bad.data);
        bad
    };
    let fewer = with(&|data| data["cpus"] = serde_json::json!([]));
    let unknown = with(&|data| data["command"] = 4.into());
    let ghost = with(&|data| data["cpus"][2]["removing"] = true.into());
    let more = with(&|data| data["cpus"][2]["present"] = true.into());
    let without = with(&|data| data["cpus"][1]["present"] = false.into());
    for bad in [fewer, ghost, unknown, more, without] {
        board.registers.load(&bad).expect_err("must be refused");
        assert_eq!(board.registers.save(), good);
    }
}

#[test]
fn keeps_the_contract() {
    let make = || {
        let Board { registers, gpe, sci, .. } = board();
        Subject { device: shared(registers), regions: vec![CpuHotplug::REGION], irqs: vec![sci], keep: Box::new(gpe) }
    };
    contract::check(make, &[ResetValue { region: 0, offset: 0, size: 1, value: 0b11 }]);
    // What has an event shows in an inspection.
    let subject = make();
    lock(&subject.device).plug(3);
    let mut out = Inspector::default();
    lock(&subject.device).inspect(&mut out);
    assert!(out.to_string().contains("CPU 3 flags = 0x03"), "{out}");
}
