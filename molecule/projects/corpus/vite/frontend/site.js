function greeting(longNameOfWhoever) {
    return "built by npm for " + longNameOfWhoever;
}
console.log(greeting("visitors"));
