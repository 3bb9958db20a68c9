//! Steering vCPU threads from outside: park, run, end, and jobs to be done on the thread itself.
//!
//! A vCPU is kicked out of the guest by a signal; the `immediate_exit` flag closes the gap between the last look at
//! the orders and KVM_RUN.

use std::collections::VecDeque;
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use devices::base::lock;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::gettid;
use vmm_sys_util::signal::register_signal_handler;

use super::run_page::RunPage;
use super::vcpu::Vcpu;

/// The signal that gets a vCPU out of the guest: one that does nothing by default and that nothing else here uses. A real-time
/// signal would be refused while the processes of the user have too many signals pending (RLIMIT_SIGPENDING).
const KICK: Signal = Signal::SIGURG;

/// What a vCPU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Park,
    Run,
    End,
}

type Job = Box<dyn FnOnce(&mut Vcpu) + Send>;

struct Orders {
    order: Order,
    parked: bool,
    /// The thread may be in the guest. If not, it looks at these orders before it goes there: it needs no signal.
    running: bool,
    jobs: VecDeque<Job>,
    /// The vCPU's page, while there is one.
    page: Option<RunPage>,
    /// The thread does nothing any more.
    ended: bool,
}

struct Control {
    orders: Mutex<Orders>,
    changed: Condvar,
    /// Set while the thread should look at its orders.
    attention: AtomicBool,
    /// The kernel's number of the thread, from its first instruction on.
    thread_id: OnceLock<i32>,
}

impl Control {
    fn wait<'a>(&self, orders: MutexGuard<'a, Orders>) -> MutexGuard<'a, Orders> {
        self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other threads' end of a vCPU thread.
pub struct VcpuHandle {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

/// Lets vCPUs be parked by whoever holds it, without waiting.
#[derive(Clone)]
pub struct VcpuParker(Vec<(Arc<Control>, libc::pthread_t)>);

/// Tells which thread of the host a vCPU is.
#[derive(Clone)]
pub struct VcpuThread(Arc<Control>);

impl VcpuThread {
    /// The kernel's number of the thread.
    #[must_use]
    pub fn id(&self) -> i32 {
        *self.0.thread_id.wait()
    }
}

/// Makes a vCPU leave the guest and enter it again, so that it sees what has changed; or do something in between.
pub struct VcpuKicker {
    control: Arc<Control>,
    thread: libc::pthread_t,
}

/// Installs the handler of the kick signal. It does nothing: its arrival is what matters.
///
/// # Errors
/// The kernel refuses the handler.
pub fn install_kick_handler() -> io::Result<()> {
    extern "C" fn ignore(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    register_signal_handler(KICK as libc::c_int, ignore).map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

/// Gets the thread to look at its orders. Once the lock is released, `changed` has to be notified too.
fn kick(control: &Control, orders: &Orders, thread: libc::pthread_t) {
    control.attention.store(true, Ordering::SeqCst);
    // With the lock held, so that the thread has not ended.
    if let Some(page) = orders.page.filter(|_| orders.running) {
        page.set_immediate_exit(true);
        // SAFETY: the thread has not ended, as it takes the page away before it does.
        let result = unsafe { libc::pthread_kill(thread, KICK as libc::c_int) };
        debug_assert_eq!(result, 0);
    }
}

impl VcpuHandle {
    /// Starts the thread of vCPU number `index`, parked; `named` after the vCPU, or like the process. `make` makes the vCPU
    /// there, beside what the caller does meanwhile; without one the thread ends.
    ///
    /// # Errors
    /// The host has no more threads to give.
    pub fn spawn(index: u32, named: bool, make: impl FnOnce() -> Option<Vcpu> + Send + 'static) -> io::Result<Self> {
        let control = Arc::new(Control {
            orders: Mutex::new(Orders {
                order: Order::Park,
                parked: false,
                running: false,
                jobs: VecDeque::new(),
                page: None,
                ended: false,
            }),
            changed: Condvar::new(),
            attention: AtomicBool::new(true),
            thread_id: OnceLock::new(),
        });
        let theirs = Arc::clone(&control);
        let mut thread = thread::Builder::new();
        if named {
            // The name of QEMU's vCPU threads.
            thread = thread.name(format!("CPU {index}/KVM"));
        }
        let thread = thread.spawn(move || {
            let end = EndOfThread(&theirs);
            // Whoever started natoma may have blocked it. The call can't fail.
            let _ = SigSet::from(KICK).thread_unblock();
            theirs.thread_id.get_or_init(|| gettid().as_raw());
            let Some(mut vcpu) = make() else { return };
            // From here on it goes before the vCPU.
            let _end = end;
            lock(&theirs.orders).page = Some(vcpu.run_page());
            run(&mut vcpu, &theirs);
        })?;
        Ok(Self { control, thread: Some(thread) })
    }

    /// Which thread of the host it is.
    #[must_use]
    pub fn thread(&self) -> VcpuThread {
        VcpuThread(Arc::clone(&self.control))
    }

    fn order(&self, order: Order) {
        let mut orders = lock(&self.control.orders);
        orders.order = order;
        if let Some(thread) = &self.thread {
            kick(&self.control, &orders, thread.as_pthread_t());
        }
        drop(orders);
        self.control.changed.notify_all();
    }

    /// Orders the vCPU to leave the guest and wait.
    pub fn park(&self) {
        self.order(Order::Park);
    }

    /// Waits until the vCPU has left the guest and has nothing half done. It must have been ordered to park.
    pub fn wait_parked(&self) {
        let mut orders = lock(&self.control.orders);
        while !orders.parked && !orders.ended {
            orders = self.control.wait(orders);
        }
    }

    /// Lets the vCPU run.
    pub fn run(&self) {
        self.order(Order::Run);
    }

    /// Ends the thread, without waiting for it. That is left to the handle's end: many threads end faster together.
    pub fn end(&self) {
        self.order(Order::End);
    }

    /// What kicks this vCPU out of the guest; `None` if its thread has ended.
    #[must_use]
    pub fn kicker(&self) -> Option<VcpuKicker> {
        Some(VcpuKicker { control: Arc::clone(&self.control), thread: self.thread.as_ref()?.as_pthread_t() })
    }

    /// As [`VcpuKicker::post`].
    pub fn post(&self, job: impl FnOnce(&mut Vcpu) + Send + 'static) -> bool {
        self.kicker().is_some_and(|kicker| kicker.post(job))
    }

    /// As [`VcpuKicker::with`].
    pub fn with<R: Send + 'static>(&self, job: impl FnOnce(&mut Vcpu) -> R + Send + 'static) -> Option<R> {
        self.kicker()?.with(job)
    }
}

impl Drop for VcpuHandle {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl VcpuKicker {
    /// Kicks the vCPU, without waiting. On its own thread there is nothing to do: it is not in the guest.
    pub fn kick(&self) {
        // SAFETY: the call has no preconditions.
        let here = unsafe { libc::pthread_self() };
        if here != self.thread {
            kick(&self.control, &lock(&self.control.orders), self.thread);
        }
    }

    /// Has something done with the vCPU on its own thread, between two instructions of the guest, before it runs again.
    /// `false` if the thread has ended.
    pub fn post(&self, job: impl FnOnce(&mut Vcpu) + Send + 'static) -> bool {
        let mut orders = lock(&self.control.orders);
        if orders.ended {
            return false;
        }
        orders.jobs.push_back(Box::new(job));
        kick(&self.control, &orders, self.thread);
        drop(orders);
        self.control.changed.notify_all();
        true
    }

    /// Has something done as [`Self::post`] does, and waits for the result. `None` if the thread has ended. Not for vCPU
    /// threads, nor with a device locked.
    pub fn with<R: Send + 'static>(&self, job: impl FnOnce(&mut Vcpu) -> R + Send + 'static) -> Option<R> {
        let (sender, receiver) = mpsc::channel();
        self.post(move |vcpu| {
            // The receiver waits below and can't be gone.
            let _ = sender.send(job(vcpu));
        });
        // Nobody sends if the thread ends before, as it drops the jobs left.
        receiver.recv().ok()
    }
}

impl VcpuParker {
    /// A parker for these vCPUs, which must outlive it.
    #[must_use]
    pub fn new(vcpus: &[VcpuHandle]) -> Self {
        let entry = |vcpu: &VcpuHandle| Some((Arc::clone(&vcpu.control), vcpu.thread.as_ref()?.as_pthread_t()));
        Self(vcpus.iter().filter_map(entry).collect())
    }

    /// Orders all vCPUs to park. A vCPU that calls this finishes its present instruction and no more.
    pub fn park_all(&self) {
        for (control, thread) in &self.0 {
            let mut orders = lock(&control.orders);
            if orders.order == Order::Run {
                orders.order = Order::Park;
                kick(control, &orders, *thread);
            }
            // A thread that is still on its way to run looks at its orders first, and finds this one.
        }
    }
}

/// The thread: carries out orders and runs the guest in between.
fn run(vcpu: &mut Vcpu, control: &Control) {
    while !control.attention.load(Ordering::SeqCst) || serve(vcpu, control) {
        if !vcpu.run_guest() {
            // It has reported why; others decide what becomes of the machine.
            let mut orders = lock(&control.orders);
            if orders.order == Order::Run {
                orders.order = Order::Park;
            }
            control.attention.store(true, Ordering::SeqCst);
        }
    }
}

/// Lets go of those who wait for the thread: when it ends, and if it panics. It comes before the end of the vCPU.
struct EndOfThread<'a>(&'a Control);

impl Drop for EndOfThread<'_> {
    fn drop(&mut self) {
        let mut orders = lock(&self.0.orders);
        orders.page = None;
        orders.ended = true;
        let jobs = std::mem::take(&mut orders.jobs);
        drop(orders);
        self.0.changed.notify_all();
        drop(jobs);
    }
}

/// Carries out orders until there is one to run (`true`) or to end.
fn serve(vcpu: &mut Vcpu, control: &Control) -> bool {
    let mut orders = lock(&control.orders);
    orders.running = false;
    loop {
        if let Some(job) = orders.jobs.pop_front() {
            drop(orders);
            vcpu.finish_access();
            job(vcpu);
            orders = lock(&control.orders);
            continue;
        }
        match orders.order {
            Order::End => return false,
            Order::Run => {
                orders.parked = false;
                orders.running = true;
                control.attention.store(false, Ordering::SeqCst);
                vcpu.run_page().set_immediate_exit(false);
                return true;
            }
            Order::Park if !orders.parked => {
                // With the orders released: it may call devices, and these whoever has the vCPUs parked or kicked.
                drop(orders);
                vcpu.finish_access();
                orders = lock(&control.orders);
                if orders.order == Order::Park {
                    orders.parked = true;
                    control.changed.notify_all();
                }
            }
            Order::Park => orders = control.wait(orders),
        }
    }
}

#[cfg(test)]
mod tests;
