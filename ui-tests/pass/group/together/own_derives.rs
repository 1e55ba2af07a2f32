//! Derives that stand below the attribute, or are opted out of.

use serde::{Deserialize, Serialize};

#[mosaik::group]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct All {
    value: u64,
}

#[mosaik::group]
impl All {
    #[command]
    fn set(&mut self, value: u64) -> Self {
        self.value = value;
        self.clone()
    }
}

#[mosaik::group(derive(skip(Clone)))]
#[derive(Debug, Default)]
struct ByHand;

impl Clone for ByHand {
    fn clone(&self) -> Self {
        Self
    }
}

#[mosaik::group]
impl ByHand {}

pub fn main() {
    assert_eq!(All::default().set(3), All { value: 3 });
    assert_eq!(format!("{:?}", ByHand.clone()), "ByHand");
}
