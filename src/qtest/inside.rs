//! What a driver can't see or do: for tests that judge a device from inside, or play the host or the user.

use devices::backend::char::CharEvent;
use devices::base::{Space, lock};

use super::QtestMachine;
use crate::kvm::address_space::AddressSpace;
use crate::machine::mailbox::{Message, UserRequest};
use crate::machine::pc::Board;
use crate::monitor::qtest::Hardware;

impl QtestMachine {
    /// The board. A request to the machine that a device makes while its owner calls it directly is carried out at the next access.
    #[must_use]
    pub fn board(&self) -> &Board {
        self.machine.board()
    }

    /// Memory and ports as a processor would see them.
    #[must_use]
    pub fn space(&self) -> &AddressSpace {
        self.machine.space()
    }

    /// The windows that devices have now: space, first and last address, name.
    #[must_use]
    pub fn windows(&self) -> Vec<(Space, u64, u64, &'static str)> {
        let board = self.board();
        [(Space::Port, &board.ports), (Space::Memory, &board.memory)]
            .into_iter()
            .flat_map(|(space, bus)| {
                bus.ranges().into_iter().map(move |(first, last, name)| (space, first, last, name))
            })
            .collect()
    }

    /// The next deadline of a timer in nanoseconds of guest time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.bench.next_deadline()
    }

    /// Something happens at the host's end of the character device `id`.
    pub fn char_event(&mut self, id: &str, event: CharEvent) {
        if let Some(port) = self.chars.get(id) {
            port.event(event);
        }
        self.settle();
    }

    /// Lets the character device `id` take so many bytes more; `None`: as many as come.
    pub fn limit_output(&mut self, id: &str, room: Option<usize>) {
        if let Some(port) = self.chars.get(id) {
            port.host.set_room(room);
        }
        self.char_event(id, CharEvent::Writable);
    }

    /// The user presses the power button.
    pub fn press_power_button(&mut self) {
        self.mailbox.post(Message::User(UserRequest::PowerButton));
        self.settle();
    }

    /// The state of the device that is saved under this name.
    #[must_use]
    pub fn save(&self, name: &str) -> Option<devices::base::State> {
        let (_, device) = self.board().devices().iter().find(|(other, _)| other == name)?;
        Some(lock(device).save())
    }
}
