module keylend.dev/e2e/peers

go 1.26
