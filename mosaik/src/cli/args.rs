//! What the command line understands, and its help.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, builder::FalseyValueParser};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::{
    id::{ParseAddrError, PeerAddr, PeerId, SecretKey},
    streams,
    tickets::AccessTicket,
};

const ABOUT: &str = "\
Publishes, reads and looks around in a mosaik network.

Processes of one user on one machine find each other by themselves. From another machine, give one
peer to start from: `mosaik beacon` prints its ticket, `--bootstrap` takes it.";

const EXAMPLES: &str = "\
Examples, each in a terminal of its own:
  mosaik sub logs
  mosaik pub logs < /var/log/syslog
  mosaik peers

Exit codes:
  0    success
  1    failed at run time
  2    the arguments are not understood
  130  interrupted by Ctrl-C or SIGTERM";

const PUB_EXAMPLES: &str = "\
Examples:
  mosaik pub logs < /var/log/syslog          publish a file, line by line
  tail -f app.log | mosaik pub logs          publish as lines come
  mosaik pub --consumers 2 logs < big.log    wait for two consumers; both get every line

Exit codes:
  0    every line arrived at as many consumers as asked for
  1    some line did not, or could not be read; standard error names the lines
  2    the arguments are not understood
  130  interrupted by Ctrl-C or SIGTERM";

const SUB_EXAMPLES: &str = "\
Examples:
  mosaik sub logs                            print lines as they come
  mosaik sub logs | grep --line-buffered ERROR
  mosaik sub --json oracle.price             decode a topic by its producer's schema
  mosaik sub --count 10 logs                 stop after ten datums

Exit codes:
  0    the count was reached, or whoever read the output has closed it
  1    failed at run time
  2    the arguments are not understood
  130  interrupted by Ctrl-C or SIGTERM";

const BEACON_EXAMPLES: &str = "\
Examples:
  mosaik beacon                              print a ticket, and serve until stopped
  mosaik beacon --bind 0.0.0.0:4000 --data-dir /var/lib/mosaik
                                             the same ticket after every start
  mosaik beacon --network one --network two  serve two networks
  mosaik sub logs --bootstrap mosaik1…       use it from another machine

Exit codes:
  0    stopped by Ctrl-C or SIGTERM
  1    failed at run time
  2    the arguments are not understood";

const PEERS_EXAMPLES: &str = "\
Examples:
  mosaik peers                               list who is there
  mosaik peers --json | jq -r .peer          only the ids
  mosaik peers --watch                       tell of changes until stopped
  mosaik peers --wait 10s --bootstrap mosaik1…

Exit codes:
  0    success, also when nobody is there
  1    failed at run time
  2    the arguments are not understood
  130  interrupted by Ctrl-C or SIGTERM";

const GROUPS_EXAMPLES: &str = "\
Examples:
  mosaik groups                              list the groups, and how each is doing
  mosaik groups --json | jq -r 'select(.online | not) | .group'
                                             the names of those that are not online

Exit codes:
  0    success, also when there is no group
  1    failed at run time
  2    the arguments are not understood
  130  interrupted by Ctrl-C or SIGTERM";

const GROUP_EXAMPLES: &str = "\
Examples:
  mosaik group show orders                   all that its members say
  mosaik group wait orders --timeout 1m      wait until its members have caught up, and show how far they are
  mosaik group recover orders --at 5c3f…     found it anew there, after its quorum was lost
  mosaik group export orders orders.export   write its state to a file
  mosaik group import orders orders.export   have a group that was founded anew take it over

Exit codes:
  0    success
  1    failed at run time; standard error says why
  2    the arguments are not understood
  130  interrupted by Ctrl-C or SIGTERM";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "mosaik", version, about = ABOUT, after_help = EXAMPLES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Publish standard input, each line as one datum of type `String`
    #[command(name = "pub", after_help = PUB_EXAMPLES)]
    Publish(Publish),
    /// Print the datums of a topic, one a line
    #[command(name = "sub", after_help = SUB_EXAMPLES)]
    Subscribe(Subscribe),
    /// Be a peer to start from, for any application of a network
    #[command(after_help = BEACON_EXAMPLES)]
    Beacon(Beacon),
    /// List the peers of a network: addresses, tags, topics, round-trip times
    #[command(after_help = PEERS_EXAMPLES)]
    Peers(Peers),
    /// List the groups of a network, and how each is doing
    #[command(after_help = GROUPS_EXAMPLES)]
    Groups(Groups),
    /// Look after one group
    #[command(subcommand, after_help = GROUP_EXAMPLES)]
    Group(Group),
}

#[derive(Debug, Subcommand)]
pub(super) enum Group {
    /// Print all that the members of a group say of it
    #[command(after_help = GROUP_EXAMPLES)]
    Show(Show),
    /// Wait until all members of a group have caught up, and show how far each is
    #[command(after_help = GROUP_EXAMPLES)]
    Wait(Wait),
    /// Have a member found the group anew from its replica, after the quorum was lost
    #[command(after_help = GROUP_EXAMPLES)]
    Recover(Recover),
    /// Write the state of a group to a file, as a member has it
    #[command(after_help = GROUP_EXAMPLES)]
    Export(Export),
    /// Have a group take over the state that `export` wrote to a file
    #[command(after_help = GROUP_EXAMPLES)]
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// Name of the topic, up to 256 bytes without control characters
    #[arg(value_parser = parse_topic)]
    pub(super) topic: String,
    /// Consumers to wait for at the start, and that every line must arrive at
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    pub(super) consumers: usize,
    /// How long to wait for the first consumers, such as `30s`; for ever unless given
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) wait: Option<Duration>,
    /// How long to hold lines that no consumer takes, once publishing has begun, before giving up
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Subscribe {
    /// Name of the topic, up to 256 bytes without control characters
    #[arg(value_parser = parse_topic)]
    pub(super) topic: String,
    /// Print every datum as JSON, strings too
    #[arg(long)]
    pub(super) json: bool,
    /// End after so many datums
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Beacon {
    /// Name of a network to serve; may be repeated
    #[arg(
        long = "network",
        value_name = "NAME",
        env = "MOSAIK_NETWORK",
        default_value = "mosaik",
        value_delimiter = ','
    )]
    pub(super) networks: Vec<String>,
    /// Directory that keeps the secret key, and with it the id, across restarts
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Peers {
    /// How long to look around, such as `2s`; unless given, until nothing new was heard for a second,
    /// at most 5 s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "watch")]
    pub(super) wait: Option<Duration>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    /// Go on, and tell of every change
    #[arg(long)]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Groups {
    /// How long to look around, such as `2s`; unless given, until nothing new was heard for a second,
    /// at most 5 s
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) wait: Option<Duration>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Name of the group
    pub(super) group: String,
    /// Print a JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Name of the group
    pub(super) group: String,
    /// How long to wait, such as `1m`, before it is a failure; for ever unless given
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Print a JSON object once all have caught up
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Recover {
    /// Name of the group
    pub(super) group: String,
    /// Id of the member that is to found it anew: all of it, as `mosaik group show` prints it
    #[arg(long, value_name = "PEER")]
    pub(super) at: PeerId,
    #[command(flatten)]
    pub(super) key: GroupKey,
    /// Go on: a majority that is merely out of reach loses what it acknowledges from now on
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Name of the group
    pub(super) group: String,
    /// File to write; one of that name is replaced once all is written
    pub(super) file: PathBuf,
    /// Id of the member whose state is wanted, all of it; unless given, the most up to date of those whom a majority
    /// knows
    #[arg(long, value_name = "PEER")]
    pub(super) at: Option<PeerId>,
    #[command(flatten)]
    pub(super) key: GroupKey,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Name of the group, which has to be that of the file
    pub(super) group: String,
    /// File that `mosaik group export` wrote
    pub(super) file: PathBuf,
    /// Id of the member to send it to, all of it; unless given, one that is online, for which it waits up to 30 s
    #[arg(long, value_name = "PEER")]
    pub(super) at: Option<PeerId>,
    /// Go on where the group has taken commands: all that it holds is lost
    #[arg(long)]
    pub(super) replace: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) key: GroupKey,
    #[command(flatten)]
    pub(super) network: NetworkName,
    #[command(flatten)]
    pub(super) node: Node,
}

#[derive(Debug, Args)]
pub(super) struct GroupKey {
    /// Key of the group, as its members were given it; not needed if they were given none
    #[arg(
        long,
        value_name = "KEY",
        env = "MOSAIK_GROUP_KEY",
        hide_env_values = true
    )]
    pub(super) key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct NetworkName {
    /// Name of the network
    #[arg(
        long = "network",
        value_name = "NAME",
        env = "MOSAIK_NETWORK",
        default_value = "mosaik"
    )]
    pub(super) name: String,
}

/// What every node can be told.
#[derive(Debug, Args)]
pub(super) struct Node {
    /// Peers to start from: tickets (`mosaik1…`), `id@ip:port` or ids; may be repeated, or separated by
    /// commas
    #[arg(long, value_name = "PEER", env = "MOSAIK_BOOTSTRAP")]
    bootstrap: Vec<PeerList>,
    /// Use nothing outside the local networks: no relay, no DNS
    #[arg(long, env = "MOSAIK_OFFLINE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(super) offline: bool,
    /// Socket address to bind, such as `0.0.0.0:4000`; may be repeated. Any port on all interfaces
    /// unless given. With several networks, each takes the port after that of the one before
    #[arg(long, value_name = "ADDR")]
    pub(super) bind: Vec<SocketAddr>,
    /// Tag to carry; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Secret that peers must prove to know before they may connect
    #[arg(
        long,
        value_name = "SECRET",
        env = "MOSAIK_SHARED_SECRET",
        hide_env_values = true
    )]
    pub(super) shared_secret: Option<String>,
    /// Secret key of this node, 64 hexadecimal digits, so that it has the same id each time; a fresh one unless given
    #[arg(
        long,
        value_name = "KEY",
        env = "MOSAIK_SECRET_KEY",
        hide_env_values = true,
        value_parser = parse_secret_key
    )]
    pub(super) secret_key: Option<SecretKey>,
    /// Access ticket to carry, for groups that ask for one: a JSON Web Token, or `CLASS=TICKET`; may be repeated
    #[arg(
        long = "access-ticket",
        value_name = "TICKET",
        env = "MOSAIK_ACCESS_TICKET",
        hide_env_values = true,
        value_parser = parse_access_ticket
    )]
    pub(super) access_tickets: Vec<AccessTicket>,
    /// Log to standard error, `-vv` more; without it RUST_LOG decides, else warnings only
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

impl Node {
    pub(super) fn bootstrap(&self) -> impl Iterator<Item = &PeerAddr> {
        self.bootstrap.iter().flat_map(|list| &list.0)
    }
}

impl Command {
    pub(super) fn verbosity(&self) -> u8 {
        match self {
            Self::Publish(args) => args.node.verbose,
            Self::Subscribe(args) => args.node.verbose,
            Self::Beacon(args) => args.node.verbose,
            Self::Peers(args) => args.node.verbose,
            Self::Groups(args) => args.node.verbose,
            Self::Group(Group::Show(args)) => args.node.verbose,
            Self::Group(Group::Wait(args)) => args.node.verbose,
            Self::Group(Group::Recover(args)) => args.node.verbose,
            Self::Group(Group::Export(args)) => args.node.verbose,
            Self::Group(Group::Import(args)) => args.node.verbose,
        }
    }
}

/// Peers separated by commas. A comma also separates the addresses of one peer: what is an address and
/// no peer belongs to the peer before it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PeerList(Vec<PeerAddr>);

impl FromStr for PeerList {
    type Err = ParseAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words: Vec<String> = Vec::new();
        let parts = text.split(',').map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            let address = part.parse::<SocketAddr>().is_ok()
                || part.starts_with("https://")
                || part.starts_with("http://");
            match words.last_mut() {
                Some(peer) if address && peer.contains('@') => {
                    peer.push(',');
                    peer.push_str(part);
                }
                _ => words.push(part.to_owned()),
            }
        }
        let peers = words.iter().map(|word| word.parse());
        Ok(Self(peers.collect::<Result<_, _>>()?))
    }
}

fn parse_secret_key(text: &str) -> Result<SecretKey, String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let bytes = bytes.ok_or("give 64 hexadecimal digits")?;
    Ok(SecretKey::from_bytes(bytes))
}

/// Reads `CLASS=TICKET`; without a class it is a JSON Web Token, in which there is no `=`.
fn parse_access_ticket(text: &str) -> Result<AccessTicket, String> {
    let (class, data) = text.split_once('=').unwrap_or(("jwt", text));
    if class.is_empty() || data.is_empty() {
        return Err("give a JSON Web Token, or `CLASS=TICKET`".into());
    }
    Ok(AccessTicket {
        class: class.into(),
        data: data.to_owned().into(),
    })
}

fn parse_topic(text: &str) -> Result<String, String> {
    streams::check_name(text)?;
    Ok(text.into())
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a number, at least 1".into()),
        Ok(count) => Ok(count),
    }
}

/// Reads `1.5s`, `250ms`, `2m`, or seconds without a unit.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("give a time as `500ms`, `2s`, `1m` or `1h`".into()),
    };
    let count: f64 = digits
        .parse()
        .map_err(|_| "give a time as `500ms`, `2s`, `1m` or `1h`")?;
    Duration::try_from_secs_f64(count * unit).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn topics_that_no_peer_could_announce_are_not_understood() {
        let long = "x".repeat(257);
        for topic in ["", "a\nb", &long] {
            for command in ["pub", "sub"] {
                let error = Cli::try_parse_from(["mosaik", command, topic]).unwrap_err();
                assert_eq!(error.exit_code(), 2, "{error}");
                assert!(error.to_string().contains("the topic's name"), "{error}");
            }
        }
        Cli::try_parse_from(["mosaik", "pub", &long[..256]]).unwrap();
    }

    #[test]
    fn durations_have_units() {
        let millis = |text| parse_duration(text).map(|time| time.as_millis());
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("1.5s"), Ok(1500));
        assert_eq!(millis("2"), Ok(2000));
        assert_eq!(millis("2m"), Ok(120_000));
        for bad in ["", "s", "-1s", "1 day", "1d", "NaN"] {
            assert!(millis(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tickets_and_keys_are_read() {
        let read = |text| parse_access_ticket(text).map(|ticket| (ticket.class, ticket.data));
        let ticket = |class: &str, data: &'static str| Ok((class.to_owned(), data.into()));
        assert_eq!(read("aa.bb.cc"), ticket("jwt", "aa.bb.cc"));
        assert_eq!(read("quote=abc=="), ticket("quote", "abc=="));
        for bad in ["", "=x", "quote="] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let key = SecretKey::generate();
        let text = HEXLOWER_PERMISSIVE.encode(&key.to_bytes());
        assert_eq!(
            parse_secret_key(&text).map(|key| key.peer()),
            Ok(key.peer())
        );
        assert!(parse_secret_key(&text[1..]).is_err() && parse_secret_key("").is_err());
    }

    #[test]
    fn commas_separate_peers_and_the_addresses_of_one() {
        let (a, b) = (SecretKey::generate().peer(), SecretKey::generate().peer());
        let first = PeerAddr::new(a)
            .with_ip("127.0.0.1:1".parse().unwrap())
            .with_ip("[::1]:2".parse().unwrap());
        let text = format!("{first},{b}, ");
        let list = text.parse::<PeerList>().unwrap();
        assert_eq!(list.0, [first, PeerAddr::new(b)]);
        assert_eq!("".parse::<PeerList>(), Ok(PeerList(Vec::new())));
        assert!("127.0.0.1:1".parse::<PeerList>().is_err());
    }
}
