//! A world: hosts, the network between them, and virtual time.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{runtime::Runtime, sync::mpsc};

use super::{Conditions, Host};
use crate::{
    rt::{
        self, Instant, lock,
        machine::{Machine, Panic},
    },
    transport::memory::Fabric,
};

/// Virtual time after which a run is taken for hung, unless said otherwise: an hour.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(3600);
/// Panics that are kept; the first is the one that fails the run.
const MAX_PANICS: usize = 16;

/// A simulated world.
///
/// It has a clock of its own, which jumps ahead whenever nobody has anything to do, and all its chances
/// come from one seed: the same seed gives the same run. Everything happens on the thread that calls
/// [`run`](Self::run).
///
/// Clones are the same world, which ends with the one that [`new`](Self::new) made.
pub struct World {
    inner: Arc<Inner>,
    /// Whether this is the one that `new` made.
    is_first: bool,
}

struct Inner {
    seed: u64,
    fabric: Fabric,
    /// What the scenario finds, which belongs to no host.
    outside: Machine,
    began: Instant,
    limit: Mutex<Duration>,
    hosts: Mutex<BTreeMap<String, Host>>,
    random: Mutex<StdRng>,
    panics: Mutex<mpsc::Receiver<Panic>>,
    tell_panic: mpsc::Sender<Panic>,
    /// Gone once the world has ended.
    runtime: Mutex<Option<Arc<Runtime>>>,
}

impl World {
    /// An empty world in which [`Conditions::lan`] hold everywhere.
    ///
    /// # Panics
    /// When the operating system has nothing left for a runtime, or when called inside of one.
    pub fn new(seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime needs nothing but memory");
        let entered = runtime.enter();
        let mut random = StdRng::seed_from_u64(seed);
        let fabric = Fabric::new(random.random());
        fabric.set_conditions(Conditions::lan());
        let (tell_panic, panics) = mpsc::channel(MAX_PANICS);
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let outside = Machine::new("outside", nowhere, random.random(), tell_panic.clone());
        let began = rt::now();
        drop(entered);
        let inner = Inner {
            seed,
            fabric,
            outside,
            began,
            limit: Mutex::new(DEFAULT_LIMIT),
            hosts: Mutex::default(),
            random: Mutex::new(random),
            panics: Mutex::new(panics),
            tell_panic,
            runtime: Mutex::new(Some(Arc::new(runtime))),
        };
        Self {
            inner: Arc::new(inner),
            is_first: true,
        }
    }

    /// Runs `scenario` to its end, and the world with it. It belongs to no host: it is who watches the
    /// world and does things to it. May be called again; what the hosts run goes on then.
    ///
    /// # Panics
    /// When anything that runs in the world panics, when the scenario takes longer than the
    /// [limit](Self::set_limit) in virtual time, or when the world has ended.
    pub fn run<F: Future>(&self, scenario: F) -> F::Output {
        let runtime = self.inner.runtime().expect("a world that has not ended");
        let _ambient = self.inner.enter();
        let limit = *lock(&self.inner.limit);
        let mut panics = lock(&self.inner.panics);
        runtime.block_on(async {
            let output = tokio::select! {
                biased;
                Some(panic) = panics.recv() => resume_unwind(panic),
                output = rt::timeout(limit, scenario) => output,
            };
            if let Ok(panic) = panics.try_recv() {
                resume_unwind(panic);
            }
            match output {
                Ok(output) => output,
                Err(_) => panic!("the scenario had not ended after {limit:?} of virtual time"),
            }
        })
    }

    /// What its chances come from.
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// How long one [`run`](Self::run) may take, in virtual time. Default: [`DEFAULT_LIMIT`].
    pub fn set_limit(&self, limit: Duration) {
        *lock(&self.inner.limit) = limit;
    }

    /// The virtual time that has passed since the world began.
    pub fn elapsed(&self) -> Duration {
        let runtime = self.inner.runtime();
        let _entered = runtime.as_deref().map(Runtime::enter);
        rt::now().duration_since(self.inner.began)
    }

    /// Waits, in virtual time. For drivers of a world; who waits for something to come true waits for that.
    pub async fn sleep(&self, duration: Duration) {
        rt::sleep(duration).await;
    }

    /// A random number from `range` that the seed decides.
    ///
    /// # Panics
    /// When the range is empty.
    pub fn random(&self, range: Range<u64>) -> u64 {
        lock(&self.inner.random).random_range(range)
    }

    /// A random time from nothing to `longest` that the seed decides, in whole milliseconds.
    pub fn random_duration(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.random(0..millis.saturating_add(1)))
    }

    /// A digest of everything that was sent in this world until now: what, when, and between whom. Two runs
    /// of one seed have the same.
    pub fn digest(&self) -> String {
        let trace = self.inner.fabric.trace();
        data_encoding::HEXLOWER.encode(&trace[..16])
    }

    /// The host of that name, made if there is none yet.
    ///
    /// # Panics
    /// When the world has ended.
    pub fn host(&self, name: &str) -> Host {
        let mut hosts = lock(&self.inner.hosts);
        if let Some(host) = hosts.get(name) {
            return host.clone();
        }
        let number = u32::try_from(hosts.len() + 1).unwrap_or(u32::MAX);
        let first = Ipv4Addr::new(192, 0, 2, 0).to_bits();
        let ip = IpAddr::V4(Ipv4Addr::from_bits(first.wrapping_add(number)));
        // What a host draws must not depend on how many there are.
        let seed = blake3::derive_key("mosaik/sim/host/1", name.as_bytes());
        let seed = u64::from_le_bytes(seed[..8].try_into().unwrap_or_default()) ^ self.inner.seed;
        let runtime = self.inner.runtime().expect("a world that has not ended");
        let _entered = runtime.enter();
        let machine = Machine::new(name, ip, seed, self.inner.tell_panic.clone());
        let host = Host::new(machine, self.inner.fabric.clone(), seed);
        hosts.insert(name.into(), host.clone());
        host
    }

    /// So many hosts: `n1`, `n2` and so on.
    pub fn make_hosts(&self, count: usize) -> Vec<Host> {
        (1..=count).map(|n| self.host(&format!("n{n}"))).collect()
    }

    /// All hosts, by name.
    pub fn hosts(&self) -> Vec<Host> {
        lock(&self.inner.hosts).values().cloned().collect()
    }

    /// What passes between hosts for which nothing else is said.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.inner.fabric.set_conditions(conditions);
    }

    /// What passes from one host to another, one way; `None` for what is said for all.
    pub fn set_link(&self, from: &Host, to: &Host, conditions: Option<Conditions>) {
        self.inner.fabric.set_way(from.ip(), to.ip(), conditions);
    }

    /// Lets nothing pass between two hosts, in either direction.
    pub fn cut(&self, a: &Host, b: &Host) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Lets nothing pass from one host to another; what the other says still arrives.
    pub fn cut_one_way(&self, from: &Host, to: &Host) {
        self.set_cut(from, to, true);
    }

    /// Joins two hosts again, in both directions.
    pub fn heal(&self, a: &Host, b: &Host) {
        self.set_cut(a, b, false);
        self.set_cut(b, a, false);
    }

    pub(super) fn set_cut(&self, from: &Host, to: &Host, cut: bool) {
        self.inner.fabric.set_cut(from.ip(), to.ip(), cut);
    }

    /// Cuts all hosts of one side off from all of the other.
    pub fn partition(&self, one: &[Host], other: &[Host]) {
        for a in one {
            for b in other {
                self.cut(a, b);
            }
        }
    }

    /// Undoes all cuts.
    pub fn heal_all(&self) {
        let hosts = self.hosts();
        for a in &hosts {
            for b in &hosts {
                self.heal(a, b);
            }
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.inner.seed)
            .finish_non_exhaustive()
    }
}

impl Clone for World {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            is_first: false,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.is_first {
            self.inner.end();
        }
    }
}

impl Inner {
    fn runtime(&self) -> Option<Arc<Runtime>> {
        lock(&self.runtime).clone()
    }

    /// Takes everything away. Programs may hold the world themselves.
    fn end(&self) {
        let Some(runtime) = lock(&self.runtime).take() else {
            return;
        };
        let _ambient = self.enter();
        let hosts: Vec<_> = lock(&self.hosts).values().cloned().collect();
        runtime.block_on(async {
            // Nothing goes on while one after the other is taken away.
            for host in &hosts {
                host.pause();
            }
            for host in &hosts {
                host.end().await;
            }
        });
        lock(&self.hosts).clear();
    }

    /// Makes this the world of the thread.
    fn enter(&self) -> Ambient {
        Ambient {
            fabric: Fabric::set_ambient(Some(self.fabric.clone())),
            outside: Machine::set_outside(Some(self.outside.clone())),
        }
    }
}

/// Makes what was before a thread's own again at its end.
struct Ambient {
    fabric: Option<Fabric>,
    outside: Option<Machine>,
}

impl Drop for Ambient {
    fn drop(&mut self) {
        Fabric::set_ambient(self.fabric.take());
        Machine::set_outside(self.outside.take());
    }
}
