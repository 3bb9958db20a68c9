//! A QMP client of a machine in the same process.

use std::sync::Arc;

use devices::backend::char::{CharClient, CharEvent, MemoryChar};

use super::QtestMachine;
use crate::config::{Catalogue, MachineConfig};
use crate::host::chardev::Chardevs;
use crate::machine::control::MonitorControl;
use crate::monitor::QmpMonitor;

/// Its session. It lives no longer than the machine is of use: it holds the devices.
pub struct QmpClient {
    control: Arc<MonitorControl>,
    monitor: QmpMonitor,
    host: MemoryChar,
}

impl QtestMachine {
    /// A client that has done the handshake; `config` is what the machine was made from.
    #[must_use]
    pub fn qmp_client(&mut self, config: &MachineConfig) -> QmpClient {
        let nothing = Catalogue { device_types: Vec::new, option_groups: Vec::new };
        let control = MonitorControl::new(config, nothing, &Chardevs::default(), Arc::clone(&self.mailbox));
        control.set_machine(config, &self.machine, &self.blocks);
        let (control, host) = (Arc::new(control), MemoryChar::default());
        let mut monitor = QmpMonitor::new(Box::new(host.clone()), control.clone(), false);
        CharClient::event(&mut monitor, CharEvent::Opened);
        let mut client = QmpClient { control, monitor, host };
        self.qmp(&mut client, br#"{"execute":"qmp_capabilities"}"#);
        client
    }

    /// What a client hears when it has said `text`, and what it has asked for has happened.
    pub fn qmp(&mut self, QmpClient { control, monitor, host }: &mut QmpClient, text: &[u8]) -> Vec<u8> {
        control.set_status(self.status());
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(monitor.can_receive()));
            monitor.receive(piece);
            rest = later;
            // What follows a request waits until it has happened, which may take no message to the machine.
            loop {
                self.settle();
                control.set_status(self.status());
                monitor.settle();
                if self.mailbox.is_empty() && monitor.can_receive() > 0 {
                    break;
                }
            }
        }
        host.take_output()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::Request;
    use crate::command_line;

    #[test]
    fn a_client_is_answered_in_order() {
        let options = ["-nodefaults", "-accel", "qtest", "-rtc", "clock=vm"].map(Into::into);
        let Request::Run(config) = command_line::parse(options).unwrap().request else {
            panic!("these options describe a machine")
        };
        let mut pc = QtestMachine::from_config(&config).unwrap();
        let mut client = pc.qmp_client(&config);
        let heard = pc.qmp(
            &mut client,
            br#"{"execute":"stop"}{"execute":"query-status"}{"execute":"cont"} {"execute":"query-status"}"#,
        );
        let answers: Vec<Value> =
            heard.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let status = |answer: &Value| answer["return"]["status"].clone();
        assert_eq!(answers.len(), 4);
        assert_eq!((status(&answers[1]), status(&answers[3])), (json!("paused"), json!("running")));
    }

    #[test]
    fn a_change_that_needs_no_message_to_the_machine_is_answered() {
        let options = ["-nodefaults", "-accel", "qtest", "-drive", "if=floppy,id=floppy0"].map(Into::into);
        let Request::Run(config) = command_line::parse(options).unwrap().request else {
            panic!("these options describe a machine")
        };
        let mut pc = QtestMachine::from_config(&config).unwrap();
        let mut client = pc.qmp_client(&config);
        let heard = pc.qmp(
            &mut client,
            br#"{"execute":"eject","arguments":{"device":"floppy0","force":true}} {"execute":"query-status"}"#,
        );
        assert!(heard.starts_with(b"{\"return\": {}}"), "{}", heard.escape_ascii());
        assert_eq!(heard.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 2);
    }
}
