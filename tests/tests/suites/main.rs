//! The suites of Paddock, one module each, in one executable so that they are linked once.

mod testbed;
