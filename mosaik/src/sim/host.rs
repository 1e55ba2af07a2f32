//! A host: a machine with a network interface, a disk and a clock, and the program that runs on it.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::{
    id::{NetworkId, PeerAddr, PeerId, SecretKey},
    network::{Builder, Network},
    rt::{
        self, lock,
        machine::{Machine, Process},
    },
    transport::memory::Fabric,
};

/// The port that [`Host::builder`] binds.
const PORT: u16 = 4000;

/// A host in a [`World`](super::World). Clones are the same host.
///
/// What runs on it runs as one process, from its first task on until it [crashes](Self::crash); after that,
/// the next task or [`restart`](Self::restart) begins another.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    machine: Machine,
    fabric: Fabric,
    key: SecretKey,
    process: Mutex<Option<Process>>,
    program: Mutex<Option<Program>>,
}

/// What is run at each start.
type Program = Arc<dyn Fn(Host) -> BoxFuture<'static, ()> + Send + Sync>;

/// The host crashed before the task was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host crashed meanwhile; start it again")]
pub struct Crashed;

impl Host {
    pub(super) fn new(machine: Machine, fabric: Fabric, seed: u64) -> Self {
        let key = blake3::derive_key("mosaik/sim/key/1", &seed.to_le_bytes());
        let inner = Inner {
            machine,
            fabric,
            key: SecretKey::from_bytes(key),
            process: Mutex::default(),
            program: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.inner.machine.name()
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.inner.machine.ip()
    }

    /// A key that the seed and the name decide, for the peer that lives here.
    pub fn key(&self) -> SecretKey {
        self.inner.key.clone()
    }

    /// The peer with that key.
    pub fn peer(&self) -> PeerId {
        self.inner.key.peer()
    }

    /// Where that peer is when it was built with [`builder`](Self::builder).
    pub fn addr(&self) -> PeerAddr {
        PeerAddr::new(self.peer()).with_ip(self.socket())
    }

    /// Options of a node that has the host's [key](Self::key) and [address](Self::addr), and starts from
    /// `peers`.
    pub fn builder<'a>(
        &self,
        network: impl Into<NetworkId>,
        peers: impl IntoIterator<Item = &'a Self>,
    ) -> Builder {
        let peers = peers.into_iter().filter(|peer| peer.ip() != self.ip());
        Network::builder(network)
            .secret_key(self.key())
            .bind(self.socket())
            .bootstrap(peers.map(Self::addr))
    }

    /// Runs `future` on the host, and waits for what comes of it.
    ///
    /// # Errors
    /// When the host crashes before.
    pub async fn run<F>(&self, future: F) -> Result<F::Output, Crashed>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (sender, receiver) = oneshot::channel();
        self.spawn(async move {
            if sender.send(future.await).is_err() {
                tracing::trace!("nobody waits for it any more");
            }
        });
        receiver.await.map_err(|_| Crashed)
    }

    /// Runs `future` on the host until it is done or the host crashes.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let process = {
            let mut process = lock(&self.inner.process);
            let boot = || self.inner.machine.boot();
            process.get_or_insert_with(boot).clone()
        };
        drop(process.spawn(future));
    }

    /// Starts a program, and again at each [`restart`](Self::restart).
    pub fn start<F>(&self, program: impl Fn(Self) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let program: Program = Arc::new(move |host| Box::pin(program(host)));
        *lock(&self.inner.program) = Some(program.clone());
        self.spawn(program(self.clone()));
    }

    /// Whether anything was started on it since it last crashed.
    pub fn is_up(&self) -> bool {
        lock(&self.inner.process).is_some()
    }

    /// Takes the power away: its tasks are dropped, nobody is told, and of what was not synced to the disk
    /// chance decides what is left. Nothing happens to a host that is not up.
    pub async fn crash(&self) {
        let process = lock(&self.inner.process).take();
        if let Some(process) = process {
            self.inner.fabric.crash(self.ip());
            self.inner.machine.disk().crash();
            process.kill().await;
            self.resume();
        }
    }

    /// Crashes it, and forgets its program.
    pub(super) async fn end(&self) {
        *lock(&self.inner.program) = None;
        let process = lock(&self.inner.process).take();
        if let Some(process) = process {
            self.inner.fabric.crash(self.ip());
            process.kill().await;
        }
    }

    /// Crashes it if it is up, and starts its program anew, if it has one.
    pub async fn restart(&self) {
        self.crash().await;
        let program = lock(&self.inner.program).clone();
        if let Some(program) = program {
            self.spawn(program(self.clone()));
        }
    }

    /// Stops everything on it, as a virtual machine that is moved or a long pause of the operating system
    /// does. Time goes on meanwhile.
    pub fn pause(&self) {
        self.inner.machine.set_paused(true);
        self.inner.fabric.set_paused(self.ip(), true);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.inner.fabric.set_paused(self.ip(), false);
        self.inner.machine.set_paused(false);
    }

    /// Sets its wall clock `ahead` milliseconds before the world's, or behind if negative. Monotonic clocks
    /// are not affected.
    pub fn set_clock(&self, ahead: i64) {
        self.inner.machine.set_skew(ahead);
    }

    /// Its disk, to do things to.
    pub fn disk(&self) -> Disk {
        Disk { host: self.clone() }
    }

    fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), PORT)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("name", &self.name())
            .field("ip", &self.ip())
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

/// The disk of a [`Host`]: what goes wrong with it.
///
/// Data directories of nodes that run on the host lie on it. What was written and not synced may be there
/// after a crash, in part or not at all; what a failed sync was to bring there is not.
#[derive(Clone, Debug)]
pub struct Disk {
    host: Host,
}

/// What was on a [`Disk`] at one moment.
#[derive(Clone, Debug)]
pub struct DiskImage(rt::disk::Image);

impl Disk {
    /// Lets every write and sync fail, or none any more.
    pub fn fail_writes(&self, error: Option<io::ErrorKind>) {
        self.disk().set_faults(|faults| faults.write_error = error);
    }

    /// Lets every read fail, or none any more.
    pub fn fail_reads(&self, error: Option<io::ErrorKind>) {
        self.disk().set_faults(|faults| faults.read_error = error);
    }

    /// Lets no more than so many bytes fit, in all files together; `None` for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().set_faults(|faults| faults.capacity = bytes);
    }

    /// Lets nothing move for so long.
    pub fn stall(&self, duration: Duration) {
        let until = rt::now() + duration;
        let stall = |faults: &mut rt::disk::Faults| faults.stalled_until = Some(until);
        self.disk().set_faults(stall);
    }

    /// Lets each sync take so long. Default: a millisecond.
    pub fn set_sync_latency(&self, latency: Duration) {
        self.disk()
            .set_faults(|faults| faults.sync_latency = latency);
    }

    /// Lets so many more changes (writes, syncs, new and renamed files) work and none after them, as when the
    /// power is cut between two. [Crash](Host::crash) the host to go on.
    pub fn cut_power_after(&self, changes: u64) {
        self.disk()
            .set_faults(|faults| faults.cut_after = Some(changes));
    }

    /// Lets so many more changes work, and fail from then on until the disk is [repaired](Self::repair).
    pub fn fail_writes_after(&self, changes: u64, error: io::ErrorKind) {
        let fault = Some((changes, error));
        self.disk().set_faults(|faults| faults.fail_after = fault);
    }

    /// Takes all faults back.
    pub fn repair(&self) {
        self.disk()
            .set_faults(|faults| *faults = Default::default());
    }

    /// What is on it and synced, to be [restored](Self::restore) later, on this disk or another.
    pub fn image(&self) -> DiskImage {
        DiskImage(self.disk().image())
    }

    /// Puts an image in the place of everything that is on it, as when a machine is set up again from a backup.
    /// Files that are open are lost to those who have them open.
    pub fn restore(&self, image: &DiskImage) {
        self.disk().restore(&image.0);
    }

    /// Loses everything that is on it.
    pub fn wipe(&self) {
        self.disk().wipe();
    }

    fn disk(&self) -> &rt::disk::Disk {
        self.host.inner.machine.disk()
    }
}
