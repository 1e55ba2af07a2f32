//! An order book that its processes keep together, fed with a file of orders. In three terminals:
//!
//! ```text
//! cargo run -p mosaik-examples --example order_book -- examples/data/orders.txt
//! ```
//!
//! Each waits until it has found the two others. Then all of them place the orders of the file, each from a place of its
//! own on: an order is placed by whoever is first, and by nobody twice, though none asks another. Orders that meet are
//! traded at once, those of the best price first and, of one price, those that came first. When all are placed, each
//! process prints the book, which is the same everywhere, and goes on printing it until it is interrupted.
//!
//! Kill one in the midst: the others go on, and no order is lost or placed twice. Start it again, and it goes on too.
//!
//! A second argument names the network, for several books on one machine; with a third, `once`, the process prints the
//! book once, leaves, and ends.

use anyhow::Context as _;
use futures::StreamExt as _;
use mosaik::{
    Network,
    collections::{Cell, PriorityQueue, Set, Vec},
};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// The number of an order: its line in the file.
type Id = u64;
/// A price.
type Cents = u64;

/// An order that waits, or the rest of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// How much is left of it.
    pub quantity: u64,
}

/// What two orders have come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trade {
    /// Who buys.
    pub buyer: Id,
    /// Who sells.
    pub seller: Id,
    /// For how much.
    pub cents: Cents,
    /// How much.
    pub quantity: u64,
}

/// An order book.
#[mosaik::replicated(name = "order book", founders = 3)]
pub struct Book {
    /// Orders to buy, by price.
    pub bids: PriorityQueue<Cents, Id, Order>,
    /// Orders to sell, by price.
    pub asks: PriorityQueue<Cents, Id, Order>,
    /// What was traded.
    pub trades: Vec<Trade>,
    /// All orders that were placed.
    pub placed: Set<Id>,
    /// The price of the last trade.
    pub last: Cell<Cents>,
}

/// What a line of the file asks for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    id: Id,
    buys: bool,
    cents: Cents,
    quantity: u64,
}

impl BookTransaction {
    /// Trades with who waits on the other side, then lets the rest wait. `None` if somebody has placed it before.
    fn place(&mut self, order: Wanted) -> Option<u64> {
        if self.placed.contains(&order.id) {
            return None;
        }
        self.placed.insert(order.id);
        let mut left = order.quantity;
        while left > 0 {
            let best = if order.buys {
                self.asks.peek_min().filter(|ask| ask.0 <= order.cents)
            } else {
                self.bids.peek_max().filter(|bid| bid.0 >= order.cents)
            };
            let Some((cents, other, waiting)) = best else {
                break;
            };
            let quantity = left.min(waiting.quantity);
            left -= quantity;
            let side = if order.buys {
                &mut self.asks
            } else {
                &mut self.bids
            };
            // What is left of it keeps its place.
            if quantity == waiting.quantity {
                side.remove(&other);
            } else {
                let quantity = waiting.quantity - quantity;
                side.update_value(&other, Order { quantity });
            }
            let (buyer, seller) = if order.buys {
                (order.id, other)
            } else {
                (other, order.id)
            };
            self.trades.push_back(Trade {
                buyer,
                seller,
                cents,
                quantity,
            });
            self.last.set(cents);
        }
        if left > 0 {
            let side = if order.buys {
                &mut self.bids
            } else {
                &mut self.asks
            };
            side.insert(order.cents, order.id, Order { quantity: left });
        }
        Some(order.quantity - left)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    log.with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let path = args.next().context("give a file of orders")?;
    let name = args.next().unwrap_or_else(|| "order book example".into());
    let once = args.next().is_some_and(|arg| arg == "once");
    let file = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let orders = parse(&file)?;

    let network = Network::builder(name.as_str()).offline().build().await?;
    let book = Book::writer(&network);
    println!("waiting for two others: start this twice more");
    tokio::select! {
        done = run(&network, &book, &orders, once) => done?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    network.shutdown().await;
    Ok(())
}

/// Places all orders, and prints the book.
async fn run(
    network: &Network,
    book: &BookWriter,
    orders: &[Wanted],
    once: bool,
) -> anyhow::Result<()> {
    book.when().online().await;
    // Each begins elsewhere, so that they seldom ask for the same at once.
    let start = network.local().id().as_bytes()[0] as usize % orders.len().max(1);
    let (before, from) = orders.split_at(start);
    let mut mine = 0;
    for order in from.iter().chain(before) {
        let placed = book.transaction(|book| book.place(*order)).await?;
        mine += u64::from(placed.is_some());
    }
    println!(
        "all {} orders are placed, {mine} of them from here",
        orders.len()
    );
    let mut trades = book.trades.changes();
    print(&book.view());
    if once {
        // Gives its vote up, which the others would miss.
        book.leave().await;
        return Ok(());
    }
    while trades.next().await.is_some() {
        print(&book.view());
    }
    Ok(())
}

/// Prints the best of both sides, all of one moment.
fn print(book: &BookView) {
    let traded: u64 = book.trades.iter().map(|trade| trade.quantity).sum();
    println!("{} trades of {traded} altogether", book.trades.len());
    for (cents, id, order) in book
        .asks
        .ascending()
        .take(3)
        .collect::<std::vec::Vec<_>>()
        .iter()
        .rev()
    {
        println!("  sell {:>3} at {cents}  #{id}", order.quantity);
    }
    match book.last.get() {
        Some(last) => println!("  -- the last at {last}"),
        None => println!("  -- nothing was traded yet"),
    }
    for (cents, id, order) in book.bids.descending().take(3) {
        println!("  buy  {:>3} at {cents}  #{id}", order.quantity);
    }
}

/// The orders of a file; lines that begin with `#` are none.
fn parse(file: &str) -> anyhow::Result<std::vec::Vec<Wanted>> {
    let lines = file
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.starts_with('#'));
    let orders = lines.map(|(line, id)| {
        let words: std::vec::Vec<&str> = line.split_whitespace().collect();
        let (buys, cents, quantity) = match words.as_slice() {
            ["buy", cents, quantity] => (true, cents, quantity),
            ["sell", cents, quantity] => (false, cents, quantity),
            _ => anyhow::bail!("line {id}: expected `buy CENTS QUANTITY` or `sell CENTS QUANTITY`"),
        };
        Ok(Wanted {
            id,
            buys,
            cents: cents
                .parse()
                .with_context(|| format!("line {id}: the price"))?,
            quantity: quantity
                .parse()
                .with_context(|| format!("line {id}: the quantity"))?,
        })
    });
    orders.collect()
}
