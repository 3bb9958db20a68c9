//! The language in which inputs are written.

use arbitrary::Arbitrary;

/// One thing that happens to a device. Numbers beyond what is there wrap around, so that every input means something.
#[derive(Arbitrary, Debug)]
pub enum Op {
    /// The guest reads.
    Read {
        /// Which of the windows that are mapped now.
        window: u8,
        /// Where in it; a few bytes more than its length are possible.
        offset: u32,
        /// How much.
        size: Size,
    },
    /// The guest writes.
    Write {
        /// Which of the windows that are mapped now.
        window: u8,
        /// Where in it; a few bytes more than its length are possible.
        offset: u32,
        /// How much.
        size: Size,
        /// What.
        value: u64,
    },
    /// The guest writes a byte to the same place many times: FIFOs run over.
    Flood {
        /// Which of the windows that are mapped now.
        window: u8,
        /// Where in it.
        offset: u32,
        /// What is written first; it goes up by one each time.
        value: u8,
        /// How often.
        times: u16,
    },
    /// The guest reads the configuration space of a PCI function under test.
    ConfigRead {
        /// Which function.
        function: u8,
        /// The register.
        offset: u8,
        /// How much.
        size: Size,
    },
    /// The guest writes the configuration space of a PCI function under test.
    ConfigWrite {
        /// Which function.
        function: u8,
        /// The register.
        offset: u8,
        /// How much.
        size: Size,
        /// What.
        value: u32,
    },
    /// The guest's RAM changes.
    Memory {
        /// Where.
        address: u32,
        /// What is there from now on.
        data: Vec<u8>,
    },
    /// Time passes: `mantissa << exponent` nanoseconds.
    Step {
        /// Significant bits.
        mantissa: u16,
        /// How far they are shifted.
        exponent: u8,
    },
    /// Something happens at the other end of a character device.
    Char(CharInput),
    /// The user does something.
    Person(PersonalInput),
    /// The machine is reset.
    Reset,
    /// The devices go on in another machine.
    Migrate,
    /// Somebody loads a state that was tampered with.
    Tamper(Tampering),
    /// The guest calls a port that exchanges registers.
    Call {
        /// Which of the calls.
        command: u8,
        /// Its argument, in EBX.
        argument: Argument,
        /// What the other registers hold.
        noise: u32,
    },
}

/// The argument of a call: those of VMware's mouse, and others.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Argument {
    /// Read the ID, which enables the mouse.
    ReadId,
    /// Disable the mouse.
    Disable,
    /// Ask for movement.
    Relative,
    /// Ask for positions.
    Absolute,
    /// Any other.
    Other(u32),
}

impl Argument {
    /// As it stands in EBX.
    #[must_use]
    pub fn value(self) -> u32 {
        match self {
            Self::ReadId => 0x4541_4552,
            Self::Disable => 0xf5,
            Self::Relative => 0x4c45_5252,
            Self::Absolute => 0x5342_4152,
            Self::Other(value) => value,
        }
    }
}

/// What can happen at the host's end of a character device.
#[derive(Arbitrary, Debug)]
pub enum CharInput {
    /// Bytes arrive.
    Receive(Vec<u8>),
    /// Somebody connects.
    Opened,
    /// Somebody leaves.
    Closed,
    /// A break arrives.
    Break,
    /// The modem's signals change: a bit each.
    Modem(u8),
    /// So many bytes are taken from now on, or all.
    Room(Option<u8>),
}

/// What a person does.
#[derive(Arbitrary, Debug)]
pub enum PersonalInput {
    /// Presses or lets go of a key.
    Key(u8, bool),
    /// Moves the mouse.
    Move(i32, i32),
    /// Turns the wheels.
    Scroll(i32, i32),
    /// Presses or lets go of a mouse button.
    Button(u8, bool),
    /// Presses the power button.
    Power,
    /// Puts the pointer somewhere.
    Point(u16, u16),
}

/// Size of an access.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Size {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Dword,
    /// 64 bits.
    Qword,
    /// What an instruction that crosses a page is cut into.
    Odd,
}

impl Size {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
            Self::Odd => 3,
        }
    }
}

/// A change of one value in a saved state.
#[derive(Arbitrary, Debug)]
pub struct Tampering {
    /// Which of its values, in order.
    pub place: u16,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a value in a saved state.
#[derive(Arbitrary, Debug)]
pub enum Change {
    /// Another number.
    Number(i64),
    /// A number as far up as it goes, less this.
    Top(u8),
    /// The other truth.
    Flip,
    /// Nothing.
    Null,
    /// A text.
    Text(String),
    /// A list of numbers.
    List(Vec<u8>),
    /// A list one element longer or shorter.
    Resize(bool),
    /// Removed.
    Gone,
}
