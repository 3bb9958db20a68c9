//! A monitor as a process: started, watched through its standard output, ended.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A process that is killed when it is dropped.
pub struct Watched {
    child: Child,
    output: BufReader<ChildStdout>,
    begin: Instant,
    limit: Duration,
    name: String,
}

impl Watched {
    /// Starts `command`, which may take up to `limit` for everything.
    pub fn spawn(mut command: Command, limit: Duration) -> Result<Self> {
        let name = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| format!("can't start {name}"))?;
        let output = BufReader::new(child.stdout.take().context("standard output is a pipe")?);
        Ok(Self { child, output, begin, limit, name })
    }

    /// Time since the process was started.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first byte, and says how long after the start it came.
    pub fn first_byte(&mut self) -> Result<Duration> {
        let mut byte = [0];
        self.wait_for_output()?;
        self.output.read_exact(&mut byte).with_context(|| format!("{} wrote nothing", self.name))?;
        Ok(self.elapsed())
    }

    /// Waits for a line that contains `part` and returns it.
    pub fn line_with(&mut self, part: &str) -> Result<String> {
        let mut line = Vec::new();
        loop {
            self.wait_for_output()?;
            let available = self.output.fill_buf()?;
            if available.is_empty() {
                bail!(
                    "{} ended without a line with {part:?}; last was {:?}",
                    self.name,
                    String::from_utf8_lossy(&line)
                );
            }
            let used = available.iter().position(|byte| *byte == b'\n').map_or(available.len(), |end| end + 1);
            line.extend_from_slice(&available[..used]);
            self.output.consume(used);
            if line.ends_with(b"\n") {
                let text = String::from_utf8_lossy(&line);
                if text.contains(part) {
                    return Ok(text.trim().to_owned());
                }
                line.clear();
            }
        }
    }

    /// Waits for the process to end well, and says how long after the start that was.
    pub fn end(mut self) -> Result<Duration> {
        loop {
            self.wait_for_output()?;
            let length = self.output.fill_buf()?.len();
            self.output.consume(length);
            if length == 0 {
                break;
            }
        }
        let status = self.child.wait()?;
        let elapsed = self.elapsed();
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(elapsed)
    }

    fn wait_for_output(&self) -> Result<()> {
        if !self.output.buffer().is_empty() {
            return Ok(());
        }
        let left = self.limit.saturating_sub(self.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout)? == 0 {
            bail!("{} did nothing within {:?}", self.name, self.limit);
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended, and been waited for, already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
