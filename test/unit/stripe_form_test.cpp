#include <gtest/gtest.h>

#include "stripe/client.hpp"

namespace stripe_sync::stripe {
namespace {

TEST(FormEncode, Names) {
  EXPECT_EQ(form_encode({}), "");
  EXPECT_EQ(form_encode({{"restrictions[minimum_amount]", "5000"},
                         {"applies_to[products][0]", "prod_A"},
                         {"applies_to[products][1]", "prod_B"},
                         {"expand[]", "data.coupon"}}),
            "restrictions[minimum_amount]=5000&applies_to[products][0]=prod_A"
            "&applies_to[products][1]=prod_B&expand[]=data.coupon");
}

TEST(FormEncode, EmptyUnsets) {
  EXPECT_EQ(form_encode({{"metadata[k]", ""}, {"name", ""}}), "metadata[k]=&name=");
}

TEST(FormEncode, Values) {
  EXPECT_EQ(form_encode({{"a", "!*()'"}}), "a=%21%2A%28%29%27");
  EXPECT_EQ(form_encode({{"a", "50% off & more = [yes]+no"}}),
            "a=50%25%20off%20%26%20more%20%3D%20%5Byes%5D%2Bno");
  EXPECT_EQ(form_encode({{"a", "-._~azAZ09"}}), "a=-._~azAZ09");
  EXPECT_EQ(form_encode({{"name", "Été 🎁"}}), "name=%C3%89t%C3%A9%20%F0%9F%8E%81");
  EXPECT_EQ(form_encode({{"a", std::string("\0\r\n\xFF", 4)}}), "a=%00%0D%0A%FF");
}

TEST(FormEncode, NamesAreEncodedButForBrackets) {
  EXPECT_EQ(form_encode({{"metadata[a b&c=d]", "1"}}), "metadata[a%20b%26c%3Dd]=1");
}

TEST(PathSegment, StaysOneSegment) {
  EXPECT_EQ(path_segment("SUMMER-1a2b3c"), "SUMMER-1a2b3c");
  EXPECT_EQ(path_segment("a/b?c#d[e] %"), "a%2Fb%3Fc%23d%5Be%5D%20%25");
}

}  // namespace
}  // namespace stripe_sync::stripe
