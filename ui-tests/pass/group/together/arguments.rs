//! All that arguments and results may be.

use mosaik::Network;

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Order {
    id: u64,
}

#[mosaik::group]
#[derive(Default)]
struct Book {
    orders: Vec<Order>,
}

#[mosaik::group]
impl Book {
    const MOST: usize = 4;

    fn helper(&self) -> usize {
        self.orders.len()
    }

    #[command]
    fn place(&mut self, mut order: Order) -> Result<u64, String> {
        if self.helper() == Self::MOST {
            return Err("full".into());
        }
        order.id += 1;
        let id = order.id;
        self.orders.push(order);
        Ok(id)
    }

    #[command]
    fn merge(&mut self, other: Self) -> Self {
        self.orders.extend(other.orders);
        self.clone()
    }

    #[command]
    #[rustfmt::skip]
    fn twelve(
        &mut self,
        a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: [u8; Self::MOST],
    ) -> u32 {
        [a, b, c, d, e, f, g, h, i, j, k, l[3]].iter().map(|n| u32::from(*n)).sum()
    }

    #[command]
    fn r#move(&mut self) {
        self.orders.reverse();
    }

    #[query]
    fn find(&self, order: &Order, bytes: &[u8], text: &str, number: u64) -> (bool, usize) {
        (self.orders.contains(order), bytes.len() + text.len() + number as usize)
    }

    #[query]
    fn all(&self) -> Vec<Order> {
        self.orders.clone()
    }

    #[query]
    fn owned(&self, order: Order) -> Option<Order> {
        self.orders.iter().find(|known| **known == order).cloned()
    }
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = Network::builder("ui-tests arguments").offline().build().await?;
    let book = Book::join(&network);
    book.when().online().await;
    let order = Order { id: 1 };
    assert_eq!(book.place(order.clone()).await?, Ok(2));
    assert_eq!(book.place_many([order.clone(), Order { id: 6 }]).await?, [Ok(2), Ok(7)]);
    let merged = book.merge(Book { orders: vec![order.clone()] }).await?;
    assert_eq!(merged.orders.len(), 4);
    assert_eq!(book.place(order.clone()).await?, Err("full".into()));
    assert_eq!(book.twelve(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, [0, 0, 0, 9]).await?, 20);
    book.r#move().await?;
    assert_eq!(book.find(&order, &[1, 2], "abc", 4).await?, (true, 9));
    assert_eq!(book.local().find(&Order { id: 9 }, &[], "", 0), (false, 0));
    assert_eq!(book.all().await?[0], order);
    assert_eq!(book.owned(order.clone()).await?, Some(order.clone()));
    assert_eq!(book.local().owned(order.clone()), Some(order));
    let client = Book::connect(&network);
    let order = Order { id: 1 };
    assert_eq!(client.find(&order, &[1, 2], "abc", 4).await?, (true, 9));
    assert_eq!(client.owned(order.clone()).await?, Some(order.clone()));
    assert_eq!(client.twelve(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, [0, 0, 0, 9]).await?, 20);
    client.r#move().await?;
    assert_eq!(client.place(order).await?, Err("full".into()));
    let clone = book.clone();
    let running = tokio::spawn(async move { clone.place_many(Vec::new()).await });
    assert_eq!(running.await??, []);
    network.shutdown().await;
    Ok(())
}
