//! Names that the expansion might have taken for itself.

use mosaik::Network;

#[mosaik::group]
#[derive(Default)]
struct Ledger {
    total: u64,
}

#[mosaik::group]
impl Ledger {
    #[command]
    #[allow(clippy::too_many_arguments)]
    #[rustfmt::skip]
    fn number(
        &mut self,
        state: u64, group: u64, batch: u64, calls: u64, number: u64, rest: u64, ctx: u64, reply: u64,
        operation: u64, bytes: u64, here: u64, inner: u64,
    ) -> u64 {
        self.total += state + group + batch + calls + number + rest + ctx + reply;
        self.total += operation + bytes + here + inner;
        self.total
    }

    #[command]
    fn rest(&mut self, calls: u64) -> u64 {
        self.total + calls
    }

    #[command]
    fn unknown(&mut self, batch: u64) -> u64 {
        self.total + batch
    }

    #[command]
    fn from(&mut self, sending: u64) -> u64 {
        self.total + sending
    }

    #[command]
    fn bytes(&mut self) {
        //! An inner comment.
        self.total += 1;
    }

    #[query]
    fn query(&self, state: &str, group: &str, here: u64) -> u64 {
        self.total + (state.len() + group.len()) as u64 + here
    }

    #[query]
    fn arguments(&self, number: u64, reply: u64) -> u64 {
        self.total + number + reply
    }

    #[query]
    #[expect(non_snake_case, reason = "it is what it is")]
    fn asRef(&self, Group: std::borrow::Cow<'static, str>) -> usize {
        Group.len()
    }
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = Network::builder("ui-tests names").offline().build().await?;
    let book = Ledger::join(&network);
    book.when().online().await;
    assert_eq!(book.number(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1).await?, 12);
    let (rest, unknown, from) = book.batch().rest(1).unknown(2).from(3).await?;
    assert_eq!((rest, unknown, from), (13, 14, 15));
    assert_eq!(book.unknown_many([5, 6]).await?, [17, 18]);
    book.bytes().await?;
    assert_eq!(book.query("a", "b", 1).await?, 16);
    assert_eq!(book.local().query("a", "b", 1), 16);
    assert_eq!(book.arguments(1, 1).await?, 15);
    assert_eq!(book.asRef("abc".into()).await?, 3);
    assert!(book.rest_many([]).await?.is_empty());
    network.shutdown().await;
    Ok(())
}
