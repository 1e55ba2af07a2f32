//! A group chat: whoever is in it sees the same messages in the same order, and who comes later sees the last of them.
//!
//! ```text
//! cargo run -p mosaik-examples --example chat -- alice
//! cargo run -p mosaik-examples --example chat -- bob
//! ```
//!
//! What is typed is said to all. `/topic …` says what it is about, `/who` who is there. On one machine the processes find
//! each other by themselves; a second argument is the ticket of one on another machine. The first that is started keeps
//! the chat going alone; as long as any of them runs, what was said is there.

use anyhow::Context as _;
use futures::StreamExt as _;
use mosaik::{
    Network,
    collections::{Cell, CellChange, Map, Vec, VecChange},
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tracing_subscriber::EnvFilter;

/// Messages that are kept.
const MOST: usize = 100;

/// What somebody said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Who.
    pub from: String,
    /// What.
    pub text: String,
}

/// A chat.
#[mosaik::replicated(name = "chat")]
pub struct Chat {
    /// The last messages.
    pub messages: Vec<Message>,
    /// What it is about.
    pub topic: Cell<String>,
    /// Who is there, and how much each has said.
    pub people: Map<String, u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    log.with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let name = args.next().context("say who you are")?;
    let builder = Network::builder("chat example").offline();
    let network = builder.bootstrap(args.next()).build().await?;
    println!("ticket for others: {}", network.local().ticket());
    let chat = Chat::writer(&network);
    chat.when().online().await;
    chat.people
        .update(name.clone(), |said| Some(said.copied().unwrap_or(0)))
        .await?;
    tokio::select! {
        shown = show(&chat) => shown,
        said = listen(&chat, &name) => said?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    if let Err(error) = chat.people.remove(name).await {
        eprintln!("the others may think that you are still there: {error}");
    }
    // Gives its vote up, which the others would miss until they replace it.
    chat.leave().await;
    network.shutdown().await;
    Ok(())
}

/// Prints what is said, in the order in which all see it.
async fn show(chat: &ChatReader) {
    let (mut messages, mut topics) = (chat.messages.changes(), chat.topic.changes());
    loop {
        tokio::select! {
            Some((_, change)) = messages.next() => match change {
                VecChange::Reset(all) => all.iter().for_each(print),
                VecChange::Inserted { value, .. } => print(&value),
                // The oldest, which had to go.
                _ => {}
            },
            Some((_, change)) = topics.next() => match change {
                CellChange::Reset(Some(topic)) | CellChange::Set { new: topic, .. } => {
                    println!("* it is about {topic}");
                }
                _ => {}
            },
            else => return,
        }
    }
}

fn print(message: &Message) {
    println!("{}: {}", message.from, message.text);
}

/// Says what is typed.
async fn listen(chat: &ChatWriter, name: &str) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("/topic", topic) => chat.topic.set(topic.to_owned()).await?,
            ("/who", _) => {
                let people = chat.people.view();
                for (person, said) in people.ascending() {
                    println!("* {person} has said {said} things");
                }
            }
            ("", _) => {}
            _ => say(chat, name, &line).await?,
        }
    }
    Ok(())
}

/// One message more, one less if there are too many, and the count: all at once or not at all.
async fn say(chat: &ChatWriter, name: &str, text: &str) -> anyhow::Result<()> {
    let said = chat.transaction(|chat| {
        let said = chat.people.get(&name.to_owned()).unwrap_or(0);
        chat.people.insert(name.to_owned(), said + 1);
        chat.messages.push_back(Message {
            from: name.to_owned(),
            text: text.to_owned(),
        });
        if chat.messages.len() > MOST {
            chat.messages.pop_front();
        }
        Some(())
    });
    said.await?;
    Ok(())
}
