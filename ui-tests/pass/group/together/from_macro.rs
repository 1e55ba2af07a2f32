//! Written by a macro.

macro_rules! counter {
    ($name:ident, $ty:ty) => {
        #[mosaik::group]
        #[derive(Default)]
        struct $name {
            value: $ty,
        }

        #[mosaik::group]
        impl $name {
            #[command]
            fn add(&mut self, amount: $ty) -> $ty {
                self.value += amount;
                self.value
            }

            #[query]
            fn value(&self) -> $ty {
                self.value
            }
        }
    };
}

macro_rules! methods {
    ($state:ty, $borrowed:ty, $context:ty) => {
        #[mosaik::group]
        impl $state {
            #[command]
            fn add(&mut self, _ctx: $context, amount: u64) {
                self.value += amount;
            }

            #[query]
            fn sum(&self, more: $borrowed) -> u64 {
                self.value + more.len() as u64
            }
        }
    };
}

#[mosaik::group]
#[derive(Default)]
struct Named {
    value: u64,
}

methods!(Named, &str, &mosaik::Ctx);

counter!(Small, u8);
counter!(Large, u64);

pub fn main() {
    assert_eq!((Small::default().add(1), Large::default().add(2)), (1, 2));
    assert_eq!((Small::default().value(), Large::default().value()), (0, 0));
    assert_eq!(Named::default().sum("ab"), 2);
    let _ = (NamedGroup::add, NamedGroup::local);
    assert_eq!(here!().len(), 3);
}
