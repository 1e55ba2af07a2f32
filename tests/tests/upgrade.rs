//! Programs of different versions in one group: replaced one after the other, under load.

use std::time::Instant;

use mosaik::groups::GroupError;
use mosaik_tests::{Child, DEADLINE, loopback, unique, within};
use tempfile::TempDir;

/// A member that runs.
struct Member {
    child: Child,
    ticket: String,
    id: String,
}

impl Member {
    /// Asks for something, and returns the line that answers it.
    fn ask(&mut self, command: &str) -> String {
        self.child.tell(command);
        self.child.line().expect("a process that lives")
    }

    /// Asks until the answer is as wanted.
    fn ask_until(&mut self, command: &str, wanted: impl Fn(&str) -> bool) {
        let began = Instant::now();
        loop {
            let line = self.ask(command);
            if wanted(&line) {
                return;
            }
            let late = began.elapsed() > DEADLINE;
            assert!(!late, "after {DEADLINE:?}, `{command}` still got: {line}");
        }
    }
}

/// Members of a bank, and the data that outlives them.
struct Cluster {
    name: String,
    dirs: Vec<TempDir>,
    members: Vec<Option<Member>>,
    /// Deposits that were acknowledged.
    loaded: u64,
}

impl Cluster {
    fn new(name: &str) -> Self {
        Self {
            name: unique(name),
            dirs: Vec::new(),
            members: Vec::new(),
            loaded: 0,
        }
    }

    /// Three members of one version that have founded the bank.
    fn founded(name: &str, program: &str) -> Self {
        let mut cluster = Self::new(name);
        for _ in 0..3 {
            cluster.add(program);
        }
        for at in 0..3 {
            cluster.member(at).child.expect("online");
        }
        cluster
    }

    /// Starts a further member.
    fn add(&mut self, program: &str) {
        self.dirs.push(tempfile::tempdir().unwrap());
        self.members.push(None);
        self.start(self.dirs.len() - 1, program);
    }

    /// Starts a version of the program on the data of a member.
    fn start(&mut self, at: usize, program: &str) {
        let mut args = vec![&*self.name, self.dirs[at].path().to_str().unwrap()];
        args.extend(self.members.iter().flatten().map(|known| &*known.ticket));
        let child = Child::start(program, &args);
        let after = |line: String| line.split_once(' ').expect("two words").1.to_owned();
        let ticket = after(child.expect("ticket "));
        let id = after(child.expect("id "));
        self.members[at] = Some(Member { child, ticket, id });
    }

    fn stop(&mut self, at: usize) {
        let mut member = self.members[at].take().expect("a member that runs");
        member.child.tell("stop");
        member.child.expect("stopped");
    }

    fn member(&mut self, at: usize) -> &mut Member {
        self.members[at].as_mut().expect("a member that runs")
    }

    fn id(&mut self, at: usize) -> String {
        self.member(at).id.clone()
    }

    /// Goes on depositing on a member.
    fn load(&mut self, at: usize) {
        self.member(at).child.tell("load");
    }

    /// Ends that: no deposit has failed.
    fn unload(&mut self, at: usize) {
        let line = self.member(at).ask("unload");
        let loaded = line.strip_prefix("loaded ").unwrap_or_else(|| {
            panic!("member {at} {line}");
        });
        self.loaded += loaded.parse::<u64>().unwrap();
    }

    /// Replaces the program of a member that deposits.
    fn replace(&mut self, at: usize, program: &str) {
        self.unload(at);
        self.stop(at);
        self.start(at, program);
        self.member(at).child.expect("online");
        self.load(at);
    }

    /// Makes a member lead.
    fn lead(&mut self, at: usize) {
        let command = format!("lead {}", self.id(at));
        let began = Instant::now();
        loop {
            let members = self.members.iter_mut().flatten();
            let answers: Vec<String> = members.map(|member| member.ask(&command)).collect();
            if answers.iter().any(|answer| answer == "led Ok(())") {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{at} leads not: {answers:?}");
        }
    }

    fn unsupported(&mut self, by: usize) -> String {
        format!("unsupported withdraw {}", self.id(by))
    }
}

#[test]
fn three_members_are_upgraded_one_after_the_other_under_load() {
    let mut cluster = Cluster::founded("rolling", "bank_v1");
    for at in 0..3 {
        cluster.load(at);
    }
    cluster.replace(0, "bank_v2");
    // What only the new version knows waits for the others, whichever version leads.
    cluster.lead(1);
    let lacks = [1, 2].map(|at| cluster.unsupported(at));
    assert_eq!(cluster.member(0).ask("special"), lacks[0]);
    cluster.lead(0);
    let said = cluster.member(0).ask("special");
    assert!(lacks.contains(&said), "{said}");
    cluster.member(0).ask_until("explain", |line| {
        line.contains("`withdraw` is not known to")
    });
    cluster.replace(1, "bank_v2");
    cluster
        .member(1)
        .ask_until("special", |line| line == lacks[1]);
    cluster.replace(2, "bank_v2");
    cluster.lead(0);
    cluster.member(0).ask_until("explain", |line| {
        !line.contains("`withdraw` is not known to")
    });
    // A voter that is away counts by what it said last, also for a leader that has started since.
    cluster.unload(1);
    cluster.stop(1);
    cluster.replace(0, "bank_v2");
    cluster.lead(0);
    let line = cluster.member(0).ask("special");
    assert!(line.starts_with("special "), "{line}");
    cluster.start(1, "bank_v2");
    cluster.member(1).child.expect("online");
    for at in [0, 2] {
        cluster.unload(at);
    }
    let left = format!("balance Some({})", cluster.loaded - 1);
    for at in 0..3 {
        assert_eq!(cluster.member(at).ask("balance load"), left);
    }
}

#[test]
fn before_a_command_is_used_the_old_version_votes_and_is_waited_for() {
    let mut cluster = Cluster::founded("unused", "bank_v2");
    cluster.lead(0);
    let gap = |line: &str| line.contains("is not known to");
    // The place of one that leaves is taken by one that knows as much, then by one that knows less.
    for (leaves, comes, program) in [(2, 3, "bank_v2"), (1, 4, "bank_v1")] {
        cluster.add(program);
        cluster.member(comes).child.expect("online");
        cluster.member(leaves).child.tell("leave");
        cluster.member(leaves).child.expect("left");
        let voter = cluster.id(comes);
        let voters = |line: &str| line.contains(&voter) && line.split(' ').count() == 4;
        cluster.member(0).ask_until("voters", voters);
        let knows_less = program == "bank_v1";
        let explained = |line: &str| gap(line) == knows_less;
        cluster.member(0).ask_until("explain", explained);
    }
    let lacks = cluster.unsupported(4);
    assert_eq!(cluster.member(3).ask("special"), lacks);
    assert_eq!(cluster.member(4).ask("deposit load"), "deposited 1");
    cluster.stop(4);
    cluster.start(4, "bank_v2");
    cluster.member(4).child.expect("online");
    let supported = |line: &str| line == "special 0";
    cluster.member(3).ask_until("special", supported);
}

#[test]
fn once_a_command_was_used_the_old_version_is_no_member() {
    let mut cluster = Cluster::founded("used", "bank_v2");
    assert_eq!(cluster.member(0).ask("deposit load"), "deposited 1");
    cluster
        .member(1)
        .ask_until("special", |line| line == "special 0");
    cluster.lead(0);
    // One that comes anew.
    cluster.add("bank_v1");
    let closed = cluster.member(3).child.expect("closed ");
    assert!(closed.contains("update this member"), "{closed}");
    for command in ["explain", "deposit load"] {
        let said = cluster.member(3).ask(command);
        assert!(said.contains("update this member"), "{said}");
    }
    // The leader takes in one that knows the command, and not the other.
    cluster.add("bank_v2");
    let [newcomer, taken] = [3, 4].map(|at| cluster.id(at));
    let members = |line: &str| line.contains(&taken);
    cluster.member(0).ask_until("members", members);
    let members = cluster.member(0).ask("members");
    assert!(!members.contains(&newcomer), "{members}");
    // It is refused for nothing else: an update is all that it lacks.
    cluster.stop(3);
    cluster.start(3, "bank_v2");
    cluster.member(3).child.expect("online");
    assert_eq!(cluster.member(3).ask("balance load"), "balance Some(0)");
    // One that votes, and goes back.
    cluster.stop(1);
    cluster.start(1, "bank_v1");
    let closed = cluster.member(1).child.expect("closed ");
    assert!(closed.contains("update this member"), "{closed}");
    assert_eq!(cluster.member(2).ask("deposit load"), "deposited 1");
    cluster.stop(1);
    cluster.start(1, "bank_v2");
    cluster.member(1).child.expect("online");
    cluster
        .member(0)
        .ask_until("special", |line| line.starts_with("special "));
}

#[test]
fn a_command_that_changed_under_its_name_is_refused_in_words() {
    let mut cluster = Cluster::new("changed");
    cluster.add("bank_v1");
    cluster.add("bank_changed");
    for at in 0..2 {
        cluster.member(at).ask_until("explain", |line| {
            line.contains("`deposit` takes or returns other types there (9)")
        });
    }
}

/// The bank as a client of a later version knows it.
mod later {
    /// A client holds no state, so this is its own business.
    #[mosaik::group(name = "upgraded bank", founders = 3, voters = 3)]
    #[derive(Debug, Default)]
    pub(crate) struct Later {
        sum: u64,
    }

    #[mosaik::group]
    impl Later {
        #[command]
        pub(crate) fn deposit(&mut self, account: String, cents: u64) -> u64 {
            self.sum += cents + account.len() as u64;
            self.sum
        }

        #[command]
        pub(crate) fn withdraw(&mut self, account: String, cents: u64) -> u64 {
            self.sum -= cents + account.len() as u64;
            self.sum
        }

        #[query]
        pub(crate) fn balance(&self, account: &str) -> Option<u64> {
            (!account.is_empty()).then_some(self.sum)
        }

        #[query]
        pub(crate) fn total(&self) -> u64 {
            self.sum
        }
    }
}

/// Clients are replaced before or after the members, and whatever state they have is none of the group's business.
#[test]
fn a_client_of_a_later_version_is_told_who_has_to_be_updated() {
    let mut cluster = Cluster::founded("later client", "bank_v1");
    let ids: Vec<String> = (0..3).map(|at| cluster.id(at)).collect();
    let ticket = cluster.member(0).ticket.clone();
    let name = cluster.name.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let network = loopback(&name).bootstrap([ticket]).build().await.unwrap();
        let client = later::Later::connect(&network);
        assert_eq!(within(client.deposit("a".into(), 7)).await.unwrap(), 7);
        assert_eq!(within(client.balance("a")).await.unwrap(), Some(7));
        let mut lacking = Vec::new();
        for error in [
            within(client.withdraw("a".into(), 1)).await.unwrap_err(),
            within(
                client
                    .batch()
                    .deposit("a".into(), 1)
                    .withdraw("a".into(), 1)
                    .into_future(),
            )
            .await
            .unwrap_err(),
            within(client.total()).await.unwrap_err(),
        ] {
            let GroupError::Unsupported(why) = &error else {
                panic!("{error:?}");
            };
            assert!(ids.contains(&why.peer.to_string()), "{why:?}");
            lacking.push(why.command.clone());
        }
        assert_eq!(lacking, ["withdraw", "withdraw", "total"]);
        // Nothing of the batch was applied, and the client goes on.
        assert_eq!(within(client.deposit("a".into(), 1)).await.unwrap(), 8);
        within(network.shutdown()).await;
    });
}
