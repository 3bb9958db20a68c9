//! Character devices with real programs at the other end.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::tools::{Guard, LIMIT, has_kvm, natoma, read_until, wait_until};

/// Answers to the monitor's `info name` show that bytes go both ways.
const ASK: &[u8] = b"info name\n";
const ANSWER: &str = "\r\ntester\r\n(qemu) ";

/// natoma with a monitor on a character device; the guest does not run.
fn with_monitor(chardev: &str) -> Guard {
    let arguments = ["-S", "-name", "tester", "-chardev", chardev, "-mon", "chardev=m"];
    Guard::start(natoma(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

#[test]
fn every_unusable_character_device_is_one_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = file.display();
    for (serial, why, remedy) in [
        ("file:/nonexistent/x".to_owned(), "No such file or directory", "create the directory"),
        ("file:/".to_owned(), "Is a directory", "name a file"),
        ("pipe:/nonexistent/x".to_owned(), "/nonexistent/x.in", "mkfifo"),
        ("/dev/nonexistent".to_owned(), "No such file", "give the path"),
        ("/dev/null".to_owned(), "no terminal", "use a file or a pipe"),
        ("unix:/nonexistent/x".to_owned(), "No such file", "start the server"),
        ("unix:/nonexistent/x,server=on,wait=off".to_owned(), "can't listen", "choose a path"),
        (format!("unix:{file},server=on,wait=off"), "no socket", "remove it"),
        (format!("tcp:127.0.0.1:{free}"), "refused", "start the server"),
        (format!("tcp:127.0.0.1:{port},server=on,wait=off"), "in use", "another port"),
        (format!("tcp:nonexistent.invalid:{free}"), "can't find the host", "check its name"),
        ("chardev:fd".to_owned(), "inherits no socket 77", "start it with one"),
        ("chardev:log".to_owned(), "logfile", "create the directory"),
        ("chardev:in".to_owned(), "input-path", "name one that exists"),
    ] {
        let chardev = match serial.as_str() {
            "chardev:fd" => "socket,id=fd,fd=77".to_owned(),
            "chardev:log" => "null,id=log,logfile=/nonexistent/log".to_owned(),
            "chardev:in" => format!("file,id=in,path={file},input-path=/nonexistent/in"),
            _ => "null,id=unused".to_owned(),
        };
        let outcome = natoma(&["-chardev", &chardev, "-serial", &serial]).output().unwrap();
        let message = String::from_utf8(outcome.stderr).unwrap();
        assert_eq!(outcome.status.code(), Some(1), "{serial}: {message}");
        assert_eq!(message.lines().count(), 1, "{serial}: {message}");
        let option = if serial.starts_with("chardev:") { "-chardev" } else { "-serial" };
        for part in ["natoma: ", option, why, remedy] {
            assert!(message.contains(part), "{serial}: no '{part}' in {message}");
        }
    }
}

#[test]
fn a_unix_server_takes_one_client_after_the_other() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut natoma = with_monitor(&format!("socket,id=m,path={},server=on,wait=off", path.display()));
    wait_until("a socket", || UnixStream::connect(&path).is_ok());
    let mut first = UnixStream::connect(&path).unwrap();
    read_until(&mut first, "(qemu) ");
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(ASK).unwrap();
    first.write_all(ASK).unwrap();
    read_until(&mut first, ANSWER);
    second.set_nonblocking(true).unwrap();
    assert!(second.read(&mut [0; 1]).is_err(), "the second client is served beside the first");
    second.set_nonblocking(false).unwrap();
    drop(first);
    read_until(&mut second, ANSWER);
    natoma.kill(Signal::SIGTERM);
    natoma.wait();
    assert!(!path.exists());
}

#[test]
fn a_server_that_waits_can_be_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut natoma = with_monitor(&format!("socket,id=m,path={},server=on", path.display()));
    read_until(natoma.0.stderr.as_mut().unwrap(), "waiting for a connection");
    natoma.kill(Signal::SIGTERM);
    if has_kvm() {
        assert_eq!(natoma.wait().code(), Some(143));
    }
}

#[test]
fn telnet_clients_are_asked_for_single_characters() {
    if !has_kvm() {
        return;
    }
    let mut natoma = with_monitor("socket,id=m,host=127.0.0.1,port=0,server=on,wait=on,telnet=on");
    let message = read_until(natoma.0.stderr.as_mut().unwrap(), "\n");
    let port = message.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let mut greeting = [0; 12];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00");
    read_until(&mut client, "(qemu) ");
    client.write_all(b"\xff\xfb\x00\xff\xfd\x01info name\r\0").unwrap();
    read_until(&mut client, ANSWER);
    natoma.kill(Signal::SIGTERM);
    natoma.wait();
}

#[test]
fn a_client_connects_again() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut natoma = with_monitor(&format!("socket,id=m,path={},reconnect=1", path.display()));
    for _ in 0..2 {
        let (mut server, _) = listener.accept().unwrap();
        read_until(&mut server, "(qemu) ");
        server.write_all(ASK).unwrap();
        read_until(&mut server, ANSWER);
    }
    natoma.kill(Signal::SIGTERM);
    natoma.wait();
}

#[test]
fn a_pseudo_terminal_is_named_and_used_by_one_program_after_the_other() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("tty");
    let mut natoma = with_monitor(&format!("pty,id=m,path={}", link.display()));
    let line = read_until(natoma.0.stdout.as_mut().unwrap(), "(label m)\n");
    let name = line.strip_prefix("char device redirected to ").unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(name.as_str()));
    for _ in 0..3 {
        // One that follows at once may be taken for the one before, and not be greeted.
        let mut terminal = fs::OpenOptions::new().read(true).write(true).open(&link).unwrap();
        terminal.write_all(ASK).unwrap();
        read_until(&mut terminal, ANSWER);
    }
    natoma.kill(Signal::SIGTERM);
    natoma.wait();
    assert!(fs::symlink_metadata(&link).is_err());
}

#[test]
fn fifos_carry_both_directions() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    let [input, output] = ["in", "out"].map(|suffix| path.with_extension(suffix));
    for fifo in [&input, &output] {
        mkfifo(fifo, Mode::S_IRWXU).unwrap();
    }
    let mut natoma = with_monitor(&format!("pipe,id=m,path={}", path.display()));
    let mut from = fs::File::open(&output).unwrap();
    read_until(&mut from, "(qemu) ");
    // Each writer's end is no end of the input.
    for _ in 0..2 {
        fs::OpenOptions::new().write(true).open(&input).unwrap().write_all(ASK).unwrap();
        read_until(&mut from, ANSWER);
    }
    natoma.kill(Signal::SIGTERM);
    natoma.wait();
}

#[test]
fn output_of_the_guest_reaches_its_file_and_the_log() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [file, log] = ["file", "log"].map(|name| directory.path().join(name));
    fs::write(&log, "before\n").unwrap();
    let chardev = format!("file,id=c,path={},logfile={},logappend=on", file.display(), log.display());
    let outcome = natoma(&["-chardev", &chardev, "-serial", "chardev:c"]).output().unwrap();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("Powering off"));
    assert_eq!(fs::read_to_string(&log).unwrap(), format!("before\n{text}"));
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_end() {
    if !has_kvm() {
        return;
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let outcome = natoma(&["-serial", "stdio"]).stdout(writer).output().unwrap();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    let message = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(message.matches("output is dropped").count(), 1, "{message}");
}

#[test]
fn a_slow_reader_gets_everything() {
    if !has_kvm() {
        return;
    }
    let mut natoma = natoma(&["-serial", "stdio"]);
    let reference = natoma.output().unwrap().stdout;
    // A pipe of one page, which is read byte by byte.
    let (mut reader, writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut guard = Guard::start(natoma.stdout(writer));
    drop(natoma);
    let mut text = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte).unwrap() != 0 {
        text.push(byte[0]);
    }
    assert_eq!(guard.wait().code(), Some(0));
    // Measured times differ from run to run.
    let lines = |text: &[u8]| String::from_utf8_lossy(text).lines().count();
    assert_eq!(lines(&text), lines(&reference));
    assert!(String::from_utf8_lossy(&text).contains("Powering off"));
}
