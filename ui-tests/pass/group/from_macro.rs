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

counter!(Small, u8);
counter!(Large, u64);

fn main() {
    assert_eq!((Small::default().add(1), Large::default().add(2)), (1, 2));
    assert_eq!((Small::default().value(), Large::default().value()), (0, 0));
    assert_eq!(mosaik::declarations().len(), 2);
}
